"""DeepSpeed as it is imported here: quiet, without a compiler, and known by version.

Its modules carry no types, so they are Any to the rest of the engine. Knows nothing of models or settings.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
from types import ModuleType
from typing import Any

from tunesmith import env, extras
from tunesmith.train.parallel.group import Group


def import_deepspeed(group: Group) -> Any:
    """The package, joined to the processes of `group`; only its errors are shown.

    Raises MissingExtraError where it is not installed.
    """
    # it asks the environment, which is empty without a launcher
    os.environ.setdefault("LOCAL_RANK", str(env.local_rank()))
    if group.device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with _quiet():
        library = extras.require("deepspeed", wanted_by="parallel: deepspeed")
        _silence(library)
        if group.device.type == "cpu":
            _leave_shared_memory_out()
        library.init_distributed(dist_backend=None, verbose=False, auto_mpi_discovery=False)
    return library


def leave_deepspeed() -> None:
    """Leave the processes, and forget them: another run in this process may be of others."""
    with _quiet():
        submodule("comm").destroy_process_group()
    submodule("comm.comm").cdb = None


def submodule(name: str) -> Any:
    """`deepspeed.<name>`."""
    module: ModuleType = importlib.import_module(f"deepspeed.{name}")
    return module


def quiet_deepspeed() -> contextlib.AbstractContextManager[None]:
    """Inside, what DeepSpeed prints instead of logging is not shown."""
    return _quiet()


@contextlib.contextmanager
def _quiet() -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _silence(library: Any) -> None:
    """Only errors: every setting that matters has been said by Tunesmith."""
    library.utils.logger.setLevel(logging.ERROR)


def _leave_shared_memory_out() -> None:
    """On CPUs DeepSpeed compiles a library of its own for sums through shared memory, for inference only."""
    submodule("comm.torch").build_shm_op = lambda: None
