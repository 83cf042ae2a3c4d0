"""One process at a time in a run folder."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tunesmith.errors import RunError
from tunesmith.train.folder.lock import only_process_in, refuse_busy

HOLDER = """
import sys
from pathlib import Path
from tunesmith.train.folder.lock import only_process_in
with only_process_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(tmp_path):
    folder = tmp_path / "run"
    refuse_busy(folder)  # nobody was ever there
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        for attempt in (refuse_busy, lambda place: only_process_in(place).__enter__()):
            with pytest.raises(RunError, match=rf"another process \({holder.pid}\) trains in .*run"):
                attempt(folder)
        holder.kill()
    refuse_busy(folder)
    with only_process_in(folder):
        pass
