"""`tunesmith data`: look at examples, check all of them, and see what is kept of them. No weights are read."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from tunesmith.errors import UsageError

HELP = """tunesmith data preview [run.yaml] [--format text|jsonl|html] [--limit N] [key=value]...
tunesmith data check   [run.yaml] [--limit N] [--html FILE] [--json FILE] [key=value]...
tunesmith data cache   [NAME]... [--clear]

preview shows examples after every step: the rendered text, its tokens, what is in the loss, what was cut.
check   encodes all rows and says what became of each, how long they are, and what would ruin a run.
cache   shows what is kept of rows that were read before, and clears it.

`tunesmith data WORD --help` says more.
"""
_MODULES = {"preview": "data_preview", "check": "data_check", "cache": "data_cache"}
_HELP_WORDS = {"--help", "-h", "help"}


def run(argv: Sequence[str]) -> int:
    """Run the word after `tunesmith data`."""
    if not argv or argv[0] in _HELP_WORDS:
        print(HELP, end="")
        return 0
    word, *rest = argv
    if word not in _MODULES:
        raise UsageError(
            f"unknown word {word!r} after `tunesmith data`; write `tunesmith data preview run.yaml` or "
            "`tunesmith data check run.yaml`"
        )
    module = importlib.import_module(f"tunesmith.cli.{_MODULES[word]}")
    if _HELP_WORDS & set(rest):
        print(module.HELP, end="")
        return 0
    status: int = module.run(rest)
    return status
