"""Tiny videos and sounds written on the spot, and the frames that decoding all of a video gives."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

NUM_FRAMES = 60
SIZE = (64, 48)


def picture(number: int) -> NDArray[np.uint8]:
    """(48, 64, 3): a red gradient, and a square that moves and changes with the frame's number."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, SIZE[0], dtype=np.uint8)
    pixels[8:40, number % 40 : number % 40 + 16, 1] = 255 - 4 * (number % 60)
    pixels[:, :, 2] = (number * 37) % 256
    return pixels


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    num_frames: int = NUM_FRAMES,
    times_ms: Sequence[int] | None = None,
    with_sound: bool = False,
) -> Path:
    """`num_frames` pictures at 24 frames a second, or shown at `times_ms`."""
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=24, options=dict(options or {}))
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=16000, layout="mono") if with_sound else None
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            tone = sine(16000, seconds=num_frames / 24)[None].astype(np.float32)
            for packet in _encoded(sound, tone, "fltp", "mono", 16000):
                container.mux(packet)
    return path


def hide_start(path: Path, target: Path, *, num_frames: int) -> Path:
    """The MP4 with an edit list that hides its first frames, as phones and editors trim a video without encoding it."""
    keep = {"avoid_negative_ts": "disabled"}
    with av.open(str(path)) as source, av.open(str(target), "w", container_options=keep) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.pts is not None and packet.dts is not None:
                ticks = num_frames * packet.duration
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, stream
                container.mux(packet)
    return target


def turn(path: Path, *, degrees_clockwise: int) -> Path:
    """Write into an MP4 that players are to turn it, as phones do: by the matrix of its track header."""
    one = 1 << 16
    rows = {90: (0, one, 0, -one, 0, 0), 180: (-one, 0, 0, 0, -one, 0), 270: (0, -one, 0, one, 0, 0)}[degrees_clockwise]
    content = bytearray(path.read_bytes())
    straight = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    place = content.index(straight, content.index(b"tkhd"))
    content[place : place + len(straight)] = struct.pack(">9i", *rows, 0, 0, 1 << 30)
    path.write_bytes(bytes(content))
    return path


def all_frames(path: Path) -> list[NDArray[np.uint8]]:
    """Every frame as PyAV decodes them from first to last."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[0])]


def sine(sampling_rate: int, *, seconds: float = 0.5, hertz: float = 440.0) -> NDArray[np.float64]:
    """A sine of amplitude 0.5."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(sampling_rate * seconds)) / sampling_rate)


def write_sound(
    path: Path, *, codec: str, sample_format: str, sampling_rate: int, channels: Sequence[NDArray[np.float64]]
) -> Path:
    """A sound file of these channels (1, 2 or 6 of them), each from -1 to 1."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    values = _as_format(np.stack(channels), sample_format)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sampling_rate, layout=layout)
        stream.format = sample_format
        for packet in _encoded(stream, values, sample_format, layout, sampling_rate):
            container.mux(packet)
    return path


def _encoded(
    stream: av.AudioStream, values: NDArray[np.generic], sample_format: str, layout: str, rate: int
) -> list[av.Packet]:
    step = stream.codec_context.frame_size or 1000
    packets = []
    for start in range(0, values.shape[1], step):
        part = values[:, start : start + step]
        packed = part if sample_format.endswith("p") else part.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=sample_format, layout=layout)
        frame.sample_rate, frame.pts = rate, start
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _as_format(values: NDArray[np.float64], sample_format: str) -> NDArray[np.generic]:
    kind = sample_format.removesuffix("p")
    if kind == "u8":
        return np.round(values * 128 + 128).clip(0, 255).astype(np.uint8)
    if kind in ("s16", "s32"):
        bits = int(kind[1:])
        return np.round(values * 2 ** (bits - 1)).clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(f"int{bits}")
    return values.astype({"flt": np.float32, "dbl": np.float64}[kind])
