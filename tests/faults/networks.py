"""A network that drops while hosts train together."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from tests.faults.commands import launching
from tests.faults.failures import require_failure
from tests.faults.hosts import Hosts, tiny_hosts
from tests.faults.kill_points import KillPoint
from tests.faults.kills import LONGEST_END_S, LONGEST_RUN_S, NeverHurt, go_through, running_until
from tests.faults.sameness import broken_checkpoints, differences
from tests.faults.teams import free_port
from tests.faults.verdict import Result, Unexpected

_TIMEOUT_S = 5
_OUT_S = 8.0


class Drop(StrEnum):
    """How a host is cut off."""

    PULLED = "cable pulled"
    DOWN = "interface down"


@dataclass(frozen=True, slots=True)
class Outage:
    """A host that is cut off when the run is at a point."""

    drop: Drop
    host: int
    point: KillPoint

    def __str__(self) -> str:
        return f"{self.drop} of host {self.host}; {self.point}"


def cut_off_and_go_on(whole: NeverHurt, outage: Outage, folder: Path) -> Result:
    """Processes of one host each must all end in ddp_timeout and say why. Then go on with the cable plugged in."""
    command = whole.command
    command = replace(command, folder=folder / "run", more=(*command.more, f"ddp_timeout={_TIMEOUT_S}"))
    with tiny_hosts(command.num_processes) as hosts:
        command = replace(command, hosts=hosts)
        with running_until(command, outage.point) as (team, asks):
            if asks:
                _cut_off(hosts, outage)
            statuses = team.wait(LONGEST_END_S)
        if any(statuses):
            require_failure(team, statuses, says="host")
        problems = broken_checkpoints(command.folder)
        hosts.plug(outage.host)
        hosts.take_up(outage.host)
        go_through(command, goes_on=True)
    return Result(int(any(statuses)), (*problems, *differences(whole.command.folder, command.folder)))


@dataclass(frozen=True, slots=True)
class LaunchedOutage:
    """A host whose cable is out for a while after a line of metrics was written."""

    host: int
    line: int

    def __str__(self) -> str:
        return f"cable of host {self.host} pulled for {_OUT_S:.0f} s after line {self.line}"


def cut_off_and_restart(whole: NeverHurt, outage: LaunchedOutage, folder: Path) -> Result:
    """A launcher on each host, which may start again: the commands go on by themselves and end well."""
    command = replace(whole.command, folder=folder / "run")
    with tiny_hosts(command.num_processes) as hosts, contextlib.ExitStack() as stack:
        meeting = [f"nnodes={hosts.count}", f"master_addr={hosts.address(0)}", f"master_port={free_port()}", "nproc=1"]
        patience = [f"ddp_timeout={_TIMEOUT_S}", "max_restarts=3"]
        launched = [
            stack.enter_context(launching(command, *meeting, *patience, f"node_rank={host}", prefix=hosts.prefix(host)))
            for host in range(hosts.count)
        ]
        launched[0].wait_for_lines(outage.line)
        hosts.pull(outage.host)
        time.sleep(_OUT_S)
        hosts.plug(outage.host)
        statuses = [one.wait(LONGEST_RUN_S) for one in launched]
        if any(statuses):
            said = "\n".join(one.said() for one in launched)
            raise Unexpected(f"ended with {statuses}, though they might start again:\n{said}")
    return Result(1, tuple(differences(whole.command.folder, command.folder)))


def _cut_off(hosts: Hosts, outage: Outage) -> None:
    if outage.drop is Drop.PULLED:
        hosts.pull(outage.host)
    else:
        hosts.take_down(outage.host)
