"""`tunesmith env`: what a bug report needs to say about the machine."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence
from importlib import metadata

import tunesmith

HELP = """tunesmith env

Prints the versions of Python, of Tunesmith and of the packages it uses, and the devices that PyTorch sees.
"""


def run(argv: Sequence[str]) -> int:
    """Print versions and devices, a line each."""
    if {"--help", "-h"} & set(argv):
        print(HELP, end="")
        return 0
    print(f"tunesmith {tunesmith.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for line in (*_packages(), *_devices()):
        print(line)
    return 0


def _packages() -> Iterator[str]:
    """`name version` of every requirement and optional package that is installed."""
    for requirement in metadata.requires("tunesmith") or ():
        match = re.match(r"[\w.-]+", requirement)
        assert match, requirement
        try:
            yield f"{match[0]} {metadata.version(match[0])}"
        except metadata.PackageNotFoundError:
            continue


def _devices() -> Iterator[str]:
    import torch

    yield f"CPU threads: {torch.get_num_threads()}"
    for index in range(torch.cuda.device_count()):
        name, memory = torch.cuda.get_device_name(index), torch.cuda.get_device_properties(index).total_memory
        yield f"GPU {index}: {name}, {memory / 2**30:.0f} GiB"
