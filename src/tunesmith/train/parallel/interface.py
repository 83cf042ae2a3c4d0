"""Which of this host's network interfaces leads to the other hosts.

Gloo takes the one that the host's own name stands for, which on many systems is the loopback (Debian writes
`127.0.1.1 NAME` into /etc/hosts): nobody else reaches a process there. Knows nothing of torch.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

_SIOCGIFADDR = 0x8915  # netdevice(7)
_NAME_BYTES = 16
_ADDRESS = slice(20, 24)
GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"
"""Gloo's own variable; what a user has set stays."""


def choose_gloo_interface(address: str) -> None:
    """Let gloo listen where the host at `address` can reach this one, unless the user said where or nobody knows."""
    if GLOO_INTERFACE not in os.environ and (name := interface_towards(address)) is not None:
        os.environ[GLOO_INTERFACE] = name


def interface_towards(address: str) -> str | None:
    """The interface whose IPv4 address packets to `address` leave from; None for the loopback, or where none is known.

    Nothing is sent.
    """
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 1))
            own = probe.getsockname()[0]
            if own.startswith("127."):
                return None
            names = (name for _, name in socket.if_nameindex())
            return next((name for name in names if _address_of(name, probe) == own), None)
    except OSError:
        return None


def _address_of(name: str, probe: socket.socket) -> str | None:
    import fcntl  # absent elsewhere

    try:
        request = struct.pack("256s", name.encode()[: _NAME_BYTES - 1])
        return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)[_ADDRESS])
    except OSError:
        return None  # an interface without an address
