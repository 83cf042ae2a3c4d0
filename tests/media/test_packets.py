"""Counting the samples of a sound track from its packets."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tunesmith.media.packets import SoundPacket, count_samples

EXACT, COARSE = Fraction(1, 48000), Fraction(1, 1000)


def packets(*rows: tuple[int | None, int], start: int = 0, end: int = 0, num_discarded: int = 0) -> list[SoundPacket]:
    """Packets of (time, duration); `start` samples are skipped in the first, `end` in the last."""
    last = len(rows) - 1
    return [
        SoundPacket(time, duration, number < num_discarded, start * (number == 0), end * (number == last))
        for number, (time, duration) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "tick_s", "expected"),
    [
        (packets(), EXACT, 0),
        (packets((0, 960), (960, 960)), EXACT, 1920),
        (packets((-312, 960), (648, 960), start=312), EXACT, 1608),
        (packets((0, 960), (960, 792), end=168), EXACT, 1752),  # Ogg: the last packet is shortened already
        (packets((0, 960), (960, 960), end=168), EXACT, 1752),  # MP3: it is not
        (packets((-1024, 1024), (0, 1024), start=1024, num_discarded=1), EXACT, 1024),  # MP4: both say the same
        (packets((-1024, 1024), (0, 1024), num_discarded=1), EXACT, 1024),
        (packets((0, 21), (21, 21), (43, 21), (64, 21)), COARSE, 4080),  # 85 ms, although 21 ms each make 84
        (packets((None, 960), (None, 960)), EXACT, 1920),
        (packets((0, 960), (10**9, 960)), EXACT, 1920),  # a clock that jumps is not believed
        (packets((0, 100), start=500), EXACT, 0),
    ],
)
def test_the_span_of_the_packets_less_what_is_left_out(
    rows: list[SoundPacket], tick_s: Fraction, expected: int
) -> None:
    assert count_samples(rows, tick_s=tick_s, sampling_rate=48000) == expected
