"""Tiny hosts: network namespaces of this machine on one switch, whose cables can be pulled.

Needs Linux, `ip` and the rights of root. Knows nothing of runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.verdict import Impossible

_CLONE_NEWNET = 0x40000000
CABLE = "lan"
"""Name of every host's network interface."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """By number; `name` is the beginning of their namespaces' names."""

    name: str
    count: int

    def address(self, host: int) -> str:
        """Where others reach it."""
        return f"10.77.0.{host + 1}"

    def enter(self, host: int) -> None:
        """Move this process to a host."""
        with Path(f"/run/netns/{self.name}-{host}").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def prefix(self, host: int) -> tuple[str, ...]:
        """Words before a command that is to run on a host."""
        return ("ip", "netns", "exec", f"{self.name}-{host}")

    def pull(self, host: int) -> None:
        """Pull a host's cable out of the switch: nothing comes through, and neither end is told."""
        self._at_switch("link", "set", f"port{host}", "nomaster")

    def plug(self, host: int) -> None:
        """Put it back."""
        self._at_switch("link", "set", f"port{host}", "master", "switch")

    def take_down(self, host: int) -> None:
        """Switch a host's network interface off: the host is told."""
        _ip("-n", f"{self.name}-{host}", "link", "set", CABLE, "down")

    def take_up(self, host: int) -> None:
        """Switch it on."""
        _ip("-n", f"{self.name}-{host}", "link", "set", CABLE, "up")

    def build(self) -> None:
        """Make them, one after the other."""
        _ip("netns", "add", f"{self.name}-switch")
        self._at_switch("link", "add", "switch", "type", "bridge")
        self._at_switch("link", "set", "switch", "up")
        for host in range(self.count):
            self._add(host)

    def remove(self) -> None:
        """With all that is in them."""
        for place in ("switch", *range(self.count)):
            subprocess.run(["ip", "netns", "del", f"{self.name}-{place}"], capture_output=True, check=False)

    def _add(self, host: int) -> None:
        name = f"{self.name}-{host}"
        _ip("netns", "add", name)
        self._at_switch("link", "add", f"port{host}", "type", "veth", "peer", "name", CABLE, "netns", name)
        _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", CABLE)
        for interface in ("lo", CABLE):
            _ip("-n", name, "link", "set", interface, "up")
        self._at_switch("link", "set", f"port{host}", "up")
        self.plug(host)

    def _at_switch(self, *words: str) -> None:
        _ip("-n", f"{self.name}-switch", *words)


@contextlib.contextmanager
def tiny_hosts(count: int) -> Iterator[Hosts]:
    """Some hosts that reach each other. Raises Impossible where they may not be made."""
    hosts = Hosts(f"faults{os.getpid()}", count)
    if shutil.which("ip") is None:
        raise Impossible("there is no `ip` (iproute2) to make hosts with")
    try:
        hosts.build()
        yield hosts
    finally:
        hosts.remove()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Impossible(f"no network namespace may be made here: ip {' '.join(words)}: {done.stderr.strip()}")
