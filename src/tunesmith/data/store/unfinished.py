"""Files that appear whole or not at all, however many processes write the same one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def becoming(target: Path) -> Iterator[IO[bytes]]:
    """A file to write, which is moved to `target` when all went well, and goes away otherwise. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix="unfinished-", delete=False) as opened:
        try:
            yield opened
            opened.close()
            Path(opened.name).replace(target)
        except BaseException:
            Path(opened.name).unlink()
            raise
