"""`tunesmith version`"""

from __future__ import annotations

from collections.abc import Sequence

import tunesmith


def run(argv: Sequence[str]) -> int:
    """Print the version. Words after the verb are none of its business."""
    del argv
    print(f"tunesmith {tunesmith.__version__}")
    return 0
