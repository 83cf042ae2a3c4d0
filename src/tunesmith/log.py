"""Rank-aware logging: `log.info("…")` prints on the first process only, once-messages print once.

The logger is the standard library's, named "tunesmith"; nothing here knows about progress bars or files.
"""

from __future__ import annotations

import logging
import sys

from tunesmith import env

_logger = logging.getLogger("tunesmith")
_CHATTY = ("bitsandbytes.backends.cpu.ops", "DeepSpeed")
"""Loggers that warn at import, quantisation or sharding wanted or not."""
_said: set[str] = set()


class _StderrHandler(logging.Handler):
    """Writes to what sys.stderr is at that moment: tests and notebooks exchange it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def set_up(level: int = logging.INFO) -> None:
    """Send Tunesmith's messages to stderr, from rank 0 only. Called by the command line."""
    if not _logger.handlers:
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        _logger.addHandler(handler)
    _logger.setLevel(level if env.rank() == 0 else logging.ERROR)
    _logger.propagate = False
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_is_error)  # a level would be set anew by the import


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def info(message: str) -> None:
    """A fact the user wants to see once it happens."""
    _logger.info(message)


def warning(message: str) -> None:
    """Something that differs from what was asked or expected, and does not stop the run."""
    _logger.warning("warning: %s", message)


def note_once(message: str) -> None:
    """Say `message` the first time only, for facts that would repeat with every row."""
    if message not in _said:
        _said.add(message)
        _logger.info("note: %s", message)


def forget_said() -> None:
    """Let once-messages be said again; a new run in the same process calls this."""
    _said.clear()
