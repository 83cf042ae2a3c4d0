"""A launcher as on a host of its own: several of them meet on this machine.

python -m tests.launch.hosts '{"host_rank": 0, "port": 20123, "logs": "…", "parts": ["done", "done"]}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.launch.test_supervise import PLAYER
from tunesmith import log
from tunesmith.cli.failure import report_failure
from tunesmith.errors import TunesmithError
from tunesmith.launch.plan import Meeting, Start
from tunesmith.launch.supervise import launch


def main(spec: dict[str, Any]) -> int:
    """One process for each host but where `size` says more; the parts are those of all ranks of the run."""
    log.set_up()
    meeting = Meeting(
        backend=spec.get("backend", "static"),
        address="127.0.0.1",
        port=spec["port"],
        job="test",
        host_rank=spec["host_rank"],
        least=spec.get("least", 2),
        most=2,
    )
    plan = Start(spec.get("size", 1), "a test", meeting, None, spec.get("restarts", 0))
    try:
        launch(plan, (*PLAYER, *spec["parts"]), logs=Path(spec["logs"]))
    except (TunesmithError, KeyboardInterrupt) as error:
        return report_failure(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
