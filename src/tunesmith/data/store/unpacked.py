"""Gzipped text unpacked into the cache folder, once for each content of the file."""

from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

from tunesmith import env
from tunesmith.data.store.stamp import stamp
from tunesmith.data.store.unfinished import becoming
from tunesmith.errors import DataError

_STRETCH_BYTES = 1 << 20


def unpack(path: Path) -> Path:
    """The unpacked content of the .gz file at `path`. Raises DataError for a broken file or a full disk.

    Safe with many processes: each writes a file of its own and moves it into place when it is whole.
    """
    target = env.cache_folder() / "unpacked" / f"{stamp(path)}{Path(path.name.lower().removesuffix('.gz')).suffix}"
    if target.is_file():
        return target
    try:
        with becoming(target) as unfinished, gzip.open(path, "rb") as packed:
            shutil.copyfileobj(packed, unfinished, _STRETCH_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be unpacked into {target.parent} ({error}); make room, or set TUNESMITH_CACHE elsewhere"
        ) from None
    return target
