"""The error tree: what the command line turns into one clear message.

TunesmithError
├── UsageError (ValueError)        exit status 2: a wrong key, value or argument
│   └── NotSupportedYetError       a known key whose part is not there yet
├── DataError (ValueError)         exit status 1: rows or files of a dataset that cannot be used
├── ModelError (RuntimeError)      exit status 1: a model folder that cannot be loaded or saved
├── MissingExtraError (ImportError) exit status 1: an optional package that is not installed
└── RunError (RuntimeError)        exit status 1: a run folder in the way, a resume that does not fit, a full disk
    └── StartAgainError            exit status 75: all processes are to go on from the last checkpoint

Every message says what was given, what was expected, and what to change.
"""

from __future__ import annotations


class TunesmithError(Exception):
    """Root of every error that is meant for the user: one message, no traceback."""

    exit_status = 1


class UsageError(TunesmithError, ValueError):
    """A setting or an argument is wrong; the message names the key, the place and the fix."""

    exit_status = 2


class NotSupportedYetError(UsageError):
    """The setting is known, and the part that would act on it is not built yet."""


class DataError(TunesmithError, ValueError):
    """Rows or files of a dataset cannot be used; the message names file and row."""


class ModelError(TunesmithError, RuntimeError):
    """A model folder or hub repository cannot be read, or does not fit what is asked of it."""


class MissingExtraError(TunesmithError, ImportError):
    """An optional package is needed and absent; the message holds the `pip install` line."""


class RunError(TunesmithError, RuntimeError):
    """A run cannot start, go on or be written."""


class StartAgainError(RunError):
    """This process cannot go on with the others, but all of them can from the last checkpoint: the launcher sees to it.

    As where memory ran out between processes that wait for each other in the middle of a layer.
    """

    exit_status = 75
