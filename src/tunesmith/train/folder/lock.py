"""One run at a time in a run folder: rank 0 of one run holds it, on one host and over a file system that hosts share.

Two signs, because neither is enough. `.lock` bears the system's own lock, which goes with its process, however that
ends, and which processes forked from it (a loader's workers) do not hold. Network file systems may know no locks, or
know those of their own host only; so `.holder` names the process, and is touched every few seconds as long as that
lives. Who finds a holder on another host waits until the file moves, and gives way, or has not moved for long enough.
No clocks of two hosts are compared. Ranks other than 0 hold nothing and ask nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TextIO

from tunesmith import env, log
from tunesmith.errors import RunError
from tunesmith.train.folder.atomic import explained
from tunesmith.train.folder.heartbeat import beating
from tunesmith.train.folder.mounts import is_shared
from tunesmith.train.folder.process import Process, process_from_json, this_process

SILENT_S = 90.0
"""A holder on another host that gave no sign for so long is dead: nine heartbeats, and more than NFS remembers a file's
attributes (acregmax, nfs(5))."""
_LOCK = ".lock"
_HOLDER = ".holder"
_LOOKS = 5
_BETWEEN_LOOKS_S = 0.1
_SETTLING_S = 1.0
"""Two hosts may begin in the same moment; after so long both see which of them wrote last."""


@contextmanager
def only_process_in(folder: Path, *, silent_s: float = SILENT_S) -> Iterator[None]:
    """Hold `folder`, created if absent. Raises RunError if another process does, or if it cannot be written."""
    if env.rank() != 0:
        yield
        return
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    file, locks = _take(folder)
    with file:
        _refuse_other_holder(folder, file, silent_s)
        me = this_process()
        _write_holder(folder, me)
        try:
            if not locks or is_shared(folder):
                time.sleep(_SETTLING_S)
                _require_held_by(me, folder)
            with beating(partial(_give_sign, me, folder)):
                yield
        finally:
            _leave(folder, file, me)


def refuse_busy(folder: Path, *, silent_s: float = SILENT_S) -> None:
    """Raise RunError if another process holds `folder`.

    Not for a process that holds it itself: closing the file here would let its lock go (POSIX).
    """
    if env.rank() == 0 and any((folder / sign).exists() for sign in (_LOCK, _HOLDER)):
        file, _ = _take(folder)
        with file:
            _refuse_other_holder(folder, file, silent_s)


def _take(folder: Path) -> tuple[TextIO, bool]:
    """The open `.lock`, and whether the system has locked it. Raises RunError if another process has."""
    for look in range(_LOOKS):
        with explained(folder):
            file = (folder / _LOCK).open("a+", encoding="ascii")
        try:
            locks = _lock(file)
        except (BlockingIOError, PermissionError):
            file.close()
            if look < _LOOKS - 1:  # it may only have been looked at by somebody who asks as well
                time.sleep(_BETWEEN_LOOKS_S)
            continue
        if _is_at(file, folder / _LOCK):
            return file, locks
        file.close()  # whoever held it has taken it away meanwhile
    raise _busy(folder, _read_holder(folder))


def _lock(file: TextIO) -> bool:
    """Lock for as long as it is open; False where system or file system cannot."""
    if os.name != "posix":
        return False
    import fcntl  # absent elsewhere

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise
    except OSError:
        return False
    return True


def _is_at(file: TextIO, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False


def _refuse_other_holder(folder: Path, file: TextIO, silent_s: float) -> None:
    """The lock is no proof where file systems do not lock, or lock among processes of one host only."""
    holder = _read_holder(folder)
    if holder is None or holder == this_process():
        return
    if not holder.is_here:
        _wait_for_silence(holder, folder, file, silent_s)
    elif holder.is_alive:
        raise _busy(folder, holder)


def _wait_for_silence(holder: Process, folder: Path, file: TextIO, silent_s: float) -> None:
    """Return once a holder elsewhere must be dead. Raises RunError as soon as it gives a sign."""
    last = _last_sign(folder)
    os.utime(file.fileno())  # by the clock of the disk, like the holder's own signs
    silence_s = os.fstat(file.fileno()).st_mtime - (last or 0.0)
    if last is None or silence_s >= silent_s:
        return
    log.info(
        f"{holder} gave a sign in {folder} {max(0.0, silence_s):.0f} s ago; waiting up to {silent_s - silence_s:.0f} s "
        "to see whether it still trains there"
    )
    end = time.monotonic() + silent_s - silence_s
    while time.monotonic() < end:
        time.sleep(min(1.0, silent_s / 10))
        sign = _last_sign(folder)
        if sign is None:
            return
        if sign != last:
            raise _busy(folder, holder, silence_s=0.0)


def _last_sign(folder: Path) -> float | None:
    """When the holder was last touched; None if it is gone. Opened, because NFS asks the server only then."""
    try:
        with (folder / _HOLDER).open("rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def _read_holder(folder: Path) -> Process | None:
    """The process that `.holder` names; None if there is none, or none that can be understood."""
    try:
        return process_from_json(json.loads((folder / _HOLDER).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_holder(folder: Path, me: Process) -> None:
    """Whole or not at all, under a draft's name that no other host takes."""
    draft = folder / f"{_HOLDER}-{me.host}-{me.pid}"
    with explained(folder):
        draft.write_text(json.dumps(asdict(me)) + "\n", encoding="utf-8")
        draft.replace(folder / _HOLDER)


def _require_held_by(me: Process, folder: Path) -> None:
    holder = _read_holder(folder)
    if holder != me:
        raise _busy(folder, holder)


def _give_sign(me: Process, folder: Path) -> None:
    if not (folder / _HOLDER).exists():
        _write_holder(folder, me)
    _require_held_by(me, folder)
    os.utime(folder / _HOLDER)


def _leave(folder: Path, file: TextIO, me: Process) -> None:
    """Take both signs away, unless they are no longer this process's."""
    if _read_holder(folder) == me:
        (folder / _HOLDER).unlink(missing_ok=True)
    if _is_at(file, folder / _LOCK):
        (folder / _LOCK).unlink(missing_ok=True)


def _busy(folder: Path, holder: Process | None, *, silence_s: float | None = None) -> RunError:
    who = "its number is not known" if holder is None else f"{holder.pid} on {holder.host}"
    sign = "" if silence_s is None else f", last sign {silence_s:.0f} s ago"
    stop = f"tunesmith runs stop {folder}"
    there = f"on {holder.host}: " if holder is not None and not holder.is_here else ""
    return RunError(
        f"another process ({who}{sign}) trains in {folder}; wait for it, stop it ({there}{stop}), or choose another "
        "output_dir"
    )
