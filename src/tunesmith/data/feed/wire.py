"""Objects through a socket to another process of this machine; large arrays and tensors as bytes behind the pickle.

    number of arrays · size of the pickle · size of each array · pickle · arrays, each at a multiple of 64 bytes

No shared memory: containers have little of it, and what a killed process leaves there stays. The reader copies once,
from the socket into the memory that the tensors keep. Knows nothing of what it carries.
"""

from __future__ import annotations

import io
import mmap
import pickle
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_HEADER = struct.Struct("<QQ")
_ALIGNMENT = 64
_LARGE_BYTES = 1 << 20
_LEAST_BYTES = 1 << 14
"""Smaller arrays travel inside the pickle: a copy costs less than a place of their own."""


def send(connection: socket.socket, message: object) -> None:
    """Raises OSError where the other end is gone."""
    arrays: list[memoryview] = []
    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=_keeping_large(arrays)).dump(message)
    connection.sendall(_HEADER.pack(len(arrays), stream.tell()))
    connection.sendall(struct.pack(f"<{len(arrays)}Q", *(array.nbytes for array in arrays)))
    connection.sendall(stream.getbuffer())
    for array in arrays:
        connection.sendall(array)
        connection.sendall(bytes(_gap(array.nbytes)))


def receive(connection: socket.socket) -> Any:
    """The next message. Raises EOFError or OSError where the other end is gone, in the middle of a message too.

    Only for a process and its own children: unpickling runs what the sender says.
    """
    num_arrays, pickle_size = _HEADER.unpack(_read(connection, _HEADER.size))
    sizes = struct.unpack(f"<{num_arrays}Q", _read(connection, 8 * num_arrays))
    content = _read(connection, pickle_size)
    arrays = _read(connection, sum(size + _gap(size) for size in sizes))
    return pickle.loads(content, buffers=_split(arrays, sizes))


class _Pickler(pickle.Pickler):
    """Tensors as arrays of bytes, which pickle's protocol 5 can leave out of the pickle."""

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for everything but plain types."""
        if not isinstance(obj, Tensor):
            return NotImplemented
        content = obj.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _as_tensor, (content, obj.dtype, tuple(obj.shape))


def _as_tensor(content: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(content).view(dtype).reshape(shape)


def _keeping_large(arrays: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """What pickle calls for each array; true leaves it in the pickle."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes >= _LEAST_BYTES:
            arrays.append(view)
        return view.nbytes < _LEAST_BYTES

    return keep


def _gap(size: int) -> int:
    return -size % _ALIGNMENT


def _split(content: memoryview, sizes: Sequence[int]) -> Iterator[memoryview]:
    start = 0
    for size in sizes:
        yield content[start : start + size]
        start += size + _gap(size)


def _read(connection: socket.socket, size: int) -> memoryview:
    """Exactly `size` bytes, in memory of their own."""
    content = _room(size)
    read = 0
    while read < size:
        # one call for all of it: every return to Python waits for its turn behind the training thread
        count = connection.recv_into(content[read:], 0, socket.MSG_WAITALL)
        if count == 0:
            raise EOFError("the other end of the connection is closed")
        read += count
    return content


def _room(size: int) -> memoryview:
    """`size` bytes that are not set to zero first.

    Large ones are mapped, and so go back to the system with the batch; from the heap, batch after batch of changing
    sizes would leave gaps, and the process would grow by hundreds of megabytes.
    """
    if size < _LARGE_BYTES:
        return np.empty(size, dtype=np.uint8).data
    if sys.platform == "win32":
        return memoryview(mmap.mmap(-1, size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
