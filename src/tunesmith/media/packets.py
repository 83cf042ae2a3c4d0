"""How many samples the packets of a sound track decode to, without decoding them.

A sum of durations would drift where the container's clock is coarser than a sample (milliseconds in Matroska), so the
length is the time from the first packet to the end of the last. Encoders pad both ends; how much is to be left out
stands in the packets as FFmpeg's AV_PKT_DATA_SKIP_SAMPLES (two 32-bit numbers first: samples at the start, at the end).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from av.audio.stream import AudioStream
from av.packet import Packet

_HONEST = 0.9
"""A clock that jumps makes the span differ from the sum of durations by more than this share; the sum is then taken."""


class SoundPacket(NamedTuple):
    """One coded stretch of sound: ticks of the stream's clock, and samples to leave out at both ends."""

    time: int | None
    duration: int
    is_discard: bool
    skipped_start: int
    skipped_end: int


def read_packets(packets: Iterable[Packet[AudioStream]]) -> list[SoundPacket]:
    """What counting needs of each packet that holds sound."""
    return [
        SoundPacket(packet.pts, packet.duration or 0, packet.is_discard, *_skipped(packet))
        for packet in packets
        if packet.size
    ]


def count_samples(packets: Sequence[SoundPacket], *, tick_s: Fraction, sampling_rate: int) -> int:
    """Samples of one channel. Exact where a tick is no longer than a sample, to within some ticks elsewhere."""
    if not packets:
        return 0
    discarded_s = sum(packet.duration for packet in packets if packet.is_discard) * tick_s
    skipped_s = Fraction(sum(packet.skipped_start for packet in packets), sampling_rate)
    # the skipped samples count those of discarded packets too
    length_s = _span(packets) * tick_s - max(discarded_s, skipped_s) - _end_padding_s(packets, tick_s, sampling_rate)
    return max(0, round(length_s * sampling_rate))


def _span(packets: Sequence[SoundPacket]) -> int:
    """Ticks from the first packet to the end of the last."""
    total = sum(packet.duration for packet in packets)
    first, last = packets[0], packets[-1]
    if first.time is None or last.time is None:
        return total
    span = last.time + last.duration - first.time
    return span if total * _HONEST <= span <= total / _HONEST or total == 0 else total


def _end_padding_s(packets: Sequence[SoundPacket], tick_s: Fraction, sampling_rate: int) -> Fraction:
    """Seconds of the last packet to leave out; Ogg and Matroska shorten its duration by them already, MP3 does not."""
    last = packets[-1]
    if last.skipped_end == 0:
        return Fraction(0)
    longest_s = max(packet.duration for packet in packets) * tick_s
    return max(Fraction(0), last.duration * tick_s - (longest_s - Fraction(last.skipped_end, sampling_rate)))


def _skipped(packet: Packet[AudioStream]) -> tuple[int, int]:
    if not packet.has_sidedata("skip_samples"):
        return 0, 0
    at_start, at_end = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
    return int(at_start), int(at_end)
