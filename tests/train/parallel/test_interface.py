"""The network interface that leads to other hosts. Hosts of their own: tests/faults/networks.py."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from tunesmith.train.parallel.interface import GLOO_INTERFACE, choose_gloo_interface, interface_towards

_ELSEWHERE = "192.0.2.1"
"""An address that no host has (RFC 5737)."""


def test_nobody_else_is_reached_over_the_loopback():
    assert interface_towards("127.0.0.1") is None


def test_a_name_that_stands_for_nothing_leaves_the_choice_to_gloo():
    assert interface_towards("") is None
    assert interface_towards("no-such-host.invalid") is None


@pytest.mark.skipif(sys.platform != "linux", reason="asked as Linux answers")
def test_the_interface_is_one_of_this_host():
    names = {name for _, name in socket.if_nameindex()}
    assert interface_towards(_ELSEWHERE) in (None, *(names - {"lo"}))


def test_what_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv(GLOO_INTERFACE, "eth7")
    choose_gloo_interface(_ELSEWHERE)
    assert os.environ[GLOO_INTERFACE] == "eth7"
