"""Every environment variable Tunesmith reads, in one place.

A value that cannot be understood raises UsageError; nothing is guessed.
"""

from __future__ import annotations

import os
from pathlib import Path

from tunesmith.errors import UsageError

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}


def _read_flag(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(f"environment variable {name}={value!r} is not a flag; use 1 or 0")


def use_modelscope_hub() -> bool:
    """USE_MODELSCOPE_HUB=1: models and datasets come from ModelScope instead of the Hugging Face hub."""
    return _read_flag("USE_MODELSCOPE_HUB")


def hugging_face_token() -> str | None:
    """HF_TOKEN, for gated models and datasets."""
    return os.environ.get("HF_TOKEN") or None


def modelscope_token() -> str | None:
    """MODELSCOPE_API_TOKEN, for private models on ModelScope."""
    return os.environ.get("MODELSCOPE_API_TOKEN") or None


def swanlab_api_key() -> str | None:
    """SWANLAB_API_KEY, for SwanLab's cloud mode."""
    return os.environ.get("SWANLAB_API_KEY") or None


def mlflow_tracking_uri() -> str | None:
    """MLFLOW_TRACKING_URI, MLflow's own variable: the server or folder that gets the numbers."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def force_torchrun() -> bool:
    """FORCE_TORCHRUN=1, LLaMA-Factory's switch: start processes through the launcher where one is enough, too."""
    return _read_flag("FORCE_TORCHRUN")


def world_size() -> int:
    """WORLD_SIZE as torchrun sets it, 1 without a launcher."""
    return _read_int("WORLD_SIZE", 1)


def rank() -> int:
    """RANK as torchrun sets it, 0 without a launcher."""
    return _read_int("RANK", 0)


def local_rank() -> int:
    """LOCAL_RANK as torchrun sets it: this process's number on its host, 0 without a launcher."""
    return _read_int("LOCAL_RANK", 0)


def local_world_size() -> int:
    """LOCAL_WORLD_SIZE as torchrun sets it: processes on this host, 1 without a launcher."""
    return _read_int("LOCAL_WORLD_SIZE", 1)


def attempt() -> int:
    """How often the processes of this run were started before this time: TUNESMITH_ATTEMPT as our launcher sets it.

    Else TORCHELASTIC_RESTART_COUNT (torchrun) or SLURM_RESTART_COUNT (a job that was put into the queue again).
    """
    names = ("TUNESMITH_ATTEMPT", "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    return next((_read_int(name, 0) for name in names if os.environ.get(name, "").strip()), 0)


def launcher() -> int | None:
    """TUNESMITH_LAUNCHER: the process number of the launcher that started this process, None without one."""
    return _read_int("TUNESMITH_LAUNCHER", 0) or None


def failure_channel() -> int | None:
    """TUNESMITH_FAILURE_CHANNEL: the open file (its number) into which a failing process tells its launcher why."""
    return _read_int("TUNESMITH_FAILURE_CHANNEL", 0) or None


def cache_folder() -> Path:
    """TUNESMITH_CACHE, or ~/.cache/tunesmith: holds what can be made again from the data; may not exist yet."""
    named = os.environ.get("TUNESMITH_CACHE", "").strip()
    return Path(named).expanduser() if named else Path.home() / ".cache" / "tunesmith"


def no_color() -> bool:
    """NO_COLOR: any value switches colour off (https://no-color.org)."""
    return "NO_COLOR" in os.environ


def keep_tokenizers_single_threaded() -> None:
    """Set TOKENIZERS_PARALLELISM=false unless it is set: called before forking workers, which would warn otherwise."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def let_threads_sleep() -> None:
    """Set GOMP_SPINCOUNT=3000 unless it or OMP_WAIT_POLICY is set; torch's OpenMP reads them once, when it is loaded.

    Threads that wait then spin for a moment and go to sleep. By default they spin a hundred times longer, which brings
    a busy machine to a crawl (benchmarks/RESULTS.md, "Threads that sleep").
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def cublas_repeats() -> bool:
    """Whether CUBLAS_WORKSPACE_CONFIG is one of the two values with which cuBLAS repeats its results bit for bit."""
    return os.environ.get("CUBLAS_WORKSPACE_CONFIG") in {":4096:8", ":16:8"}


def let_kernels_repeat() -> None:
    """Set what cuBLAS, read when CUDA starts, and flash-attn need to repeat their results bit for bit, where unset."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("FLASH_ATTENTION_DETERMINISTIC", "1")


def debug() -> bool:
    """TUNESMITH_DEBUG=1: show the traceback of an error that would be one message."""
    return _read_flag("TUNESMITH_DEBUG")


def _read_int(name: str, default: int) -> int:
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"environment variable {name}={value!r} is not a whole number") from None
