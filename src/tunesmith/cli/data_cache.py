"""`tunesmith data cache`: what is kept of rows that were read before, and how to be rid of it."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import env, log
from tunesmith.errors import UsageError

HELP = """tunesmith data cache [NAME]... [--clear]

Shows what lies in the cache folder (TUNESMITH_CACHE, or ~/.cache/tunesmith): encoded rows, row indexes, unpacked and
downloaded files. All of it is made again when it is needed.

  --clear      delete what is named, or everything

  tunesmith data cache
  tunesmith data cache encodings --clear
"""


def run(argv: Sequence[str]) -> int:
    """Print the caches, or delete them and print what is gone."""
    names = [word for word in argv if not word.startswith("-")]
    unknown = set(argv) - {"--clear", *names}
    if unknown:
        raise UsageError(f"command line: {min(unknown)} is no option of `tunesmith data cache`; it has --clear")
    log.set_up()
    from tunesmith.data.cache.cache_folders import clear_cache_folders, list_cache_folders

    is_clearing = "--clear" in argv
    folders = clear_cache_folders(names) if is_clearing else list_cache_folders(names)
    for folder in folders:
        rows = f", {folder.num_rows:,} rows" if folder.num_rows else ""
        amount = f"{_size(folder.num_bytes)} in {folder.num_files:,} files{rows}"
        print(f"{folder.name:<10} {amount:<40} {folder.purpose}")
    total = _size(sum(folder.num_bytes for folder in folders))
    print(f"{total} deleted from {env.cache_folder()}" if is_clearing else f"{total} in {env.cache_folder()}")
    return 0


def _size(num_bytes: int) -> str:
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"
