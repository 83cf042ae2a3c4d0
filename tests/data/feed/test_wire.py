"""What goes into a socket comes out of it, large arrays beside the pickle, and a torn connection is an EOFError."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Thread

import numpy as np
import pytest
import torch

from tunesmith.data.feed import wire


@dataclass(frozen=True)
class Parcel:
    name: str
    pixels: torch.Tensor
    ids: np.ndarray


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    yield one, other
    one.close()
    other.close()


def passed(ends: tuple[socket.socket, socket.socket], message: object) -> object:
    sender = Thread(target=wire.send, args=(ends[0], message))
    sender.start()
    received = wire.receive(ends[1])
    sender.join()
    return received


def test_large_and_small_contents_arrive(ends: tuple[socket.socket, socket.socket]) -> None:
    sent = Parcel("a", torch.randn(300, 1001), np.arange(70_001, dtype=np.int32))
    for message in (sent, Parcel("b", torch.zeros(0, 4), np.arange(3))):
        received = passed(ends, message)
        assert isinstance(received, Parcel) and received.name == message.name
        assert torch.equal(received.pixels, message.pixels)
        assert np.array_equal(received.ids, message.ids) and received.ids.dtype == message.ids.dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize("size", [3, 100_000])
def test_every_kind_of_tensor_arrives(ends: tuple[socket.socket, socket.socket], dtype: torch.dtype, size: int) -> None:
    sent = torch.arange(2 * size).reshape(2, size).to(dtype)
    for tensor in (sent, sent.t(), sent[0, 0]):
        received = passed(ends, tensor)
        assert isinstance(received, torch.Tensor) and received.dtype == dtype
        assert torch.equal(received, tensor)
        received.zero_()  # its memory is its own


def test_many_messages_follow_one_another(ends: tuple[socket.socket, socket.socket]) -> None:
    assert [passed(ends, {"number": number, "list": [None] * number}) for number in range(50)] == [
        {"number": number, "list": [None] * number} for number in range(50)
    ]


def test_an_end_that_closes_in_the_middle_is_noticed(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(b"\1\0\0\0")
    ends[0].close()
    with pytest.raises(EOFError):
        wire.receive(ends[1])
