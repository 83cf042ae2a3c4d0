"""Optional packages: import one, or raise the `pip install` line that brings it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from tunesmith.errors import MissingExtraError

# package -> the extra of pyproject.toml that installs it
_EXTRA_OF = {
    "bitsandbytes": "quantization",
    "deepspeed": "deepspeed",
    "gradio": "studio",
    "mlflow": "trackers",
    "modelscope": "modelscope",
    "swanlab": "trackers",
    "tensorboard": "trackers",
    "trackio": "trackers",
    "trl": "grpo",
    "vllm": "vllm",
    "wandb": "trackers",
}


def is_installed(package: str) -> bool:
    """Whether `package` could be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def require(package: str, *, wanted_by: str) -> ModuleType:
    """Import `package`, an optional dependency that `wanted_by` (a YAML key and value) needs.

    Raises MissingExtraError with the install line if it is absent.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        extra = _EXTRA_OF.get(package.partition(".")[0])
        line = f"pip install 'tunesmith[{extra}]'" if extra else f"pip install {package}"
        raise MissingExtraError(f"{wanted_by} needs the package {package}, which is not installed: {line}") from None
