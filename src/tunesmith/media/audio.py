"""Sound: how long it is without decoding, and its samples as models want them: mono, float32, at their rate.

The number of samples decides the number of tokens, so it is counted in one way only, from the packets (`probe_audio`),
and `read_audio` always returns exactly that many: a decoder that gives a few samples more or fewer at the end (MP3 and
AAC without gapless tags) is cut or followed by silence. Channels are averaged here: FFmpeg's own mixing weighs them and
leaves the range of -1 to 1. Knows nothing of rows or processors; never imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from numpy.typing import NDArray

from tunesmith.errors import DataError
from tunesmith.media.container import opened_container, sound_track
from tunesmith.media.download import DEFAULT_LIMITS, UrlLimits
from tunesmith.media.fetch import Content, MediaReference, find_content
from tunesmith.media.packets import count_samples, read_packets

_REMEMBERED_FILES = 4096
_CHUNK_SAMPLES = 1 << 16
"""Samples that are resampled in one call; a frame of the decoder has about a thousand."""
_FULL_SCALE = {"u1": 1 << 7, "i2": 1 << 15, "i4": 1 << 31, "i8": 1 << 63}
"""The value of each integer type that stands for 1.0; 24-bit sound comes out of the decoder as the upper 24 of 32."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """How long a sound is, known without decoding it: samples of one channel, and how many make a second."""

    num_samples: int
    sampling_rate: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate


def probe_audio(media: MediaReference, *, limits: UrlLimits = DEFAULT_LIMITS) -> AudioInfo:
    """The length of an audio file, or of the sound track of a video, from its packets. Remembered per file.

    Raises DataError for a missing or damaged file, or one without sound.
    """
    if isinstance(media.source, tuple):
        raise DataError(f"{media.name}: a list of frames has no sound")
    content = find_content(media, limits=limits)
    return _probe(content, media.name) if isinstance(content, bytes) else _probe_file(content, media.name)


def num_samples_at(info: AudioInfo, sampling_rate: int) -> int:
    """The length of what read_audio returns: num_samples times the ratio of the rates, rounded up."""
    return -(-info.num_samples * sampling_rate // info.sampling_rate)


def read_audio(media: MediaReference, *, sampling_rate: int, limits: UrlLimits = DEFAULT_LIMITS) -> NDArray[np.float32]:
    """(num_samples_at(probe_audio(media), sampling_rate),) mono from -1 to 1: the mean of the channels, resampled.

    What is shorter than the resampler's filter, some sixteen samples, becomes silence. Raises DataError as probe_audio
    does, and for sound that cannot be decoded.
    """
    length = num_samples_at(probe_audio(media, limits=limits), sampling_rate)
    samples = np.zeros(length, dtype=np.float32)
    place = 0
    with opened_container(find_content(media, limits=limits), kind="audio", name=media.name) as container:
        for chunk in _resampled(_mono_chunks(container, media.name), sampling_rate):
            part = chunk[: length - place]
            samples[place : place + len(part)] = part
            place += len(part)
    if not np.isfinite(samples).all():
        raise DataError(f"{media.name}: the sound has values that are not numbers")
    return np.clip(samples, -1.0, 1.0, out=samples)


def _probe(content: Content, name: str) -> AudioInfo:
    with opened_container(content, kind="audio", name=name) as container:
        stream = sound_track(container, name)
        rate = stream.codec_context.sample_rate
        packets = read_packets(container.demux(stream))
        tick_s = stream.time_base
    num_samples = count_samples(packets, tick_s=tick_s, sampling_rate=rate) if rate > 0 and tick_s is not None else 0
    if num_samples == 0:
        raise DataError(f"{name}: the sound is empty (0 samples)")
    return AudioInfo(num_samples, rate)


_probe_file = lru_cache(maxsize=_REMEMBERED_FILES)(_probe)


def _mono_chunks(container: InputContainer, name: str) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The mean of the channels, many frames at a time, each with its rate (which the decoder knows best)."""
    waiting: list[NDArray[np.float32]] = []
    num_waiting, rate = 0, 0
    for frame in container.decode(sound_track(container, name)):
        if waiting and (num_waiting >= _CHUNK_SAMPLES or frame.sample_rate != rate):
            yield np.concatenate(waiting), rate
            waiting, num_waiting = [], 0
        waiting.append(_mono(frame))
        num_waiting += frame.samples
        rate = frame.sample_rate
    if not waiting:
        raise DataError(f"{name}: no sound can be decoded")
    yield np.concatenate(waiting), rate


def _mono(frame: AudioFrame) -> NDArray[np.float32]:
    """(samples,) from -1 to 1."""
    values = frame.to_ndarray()  # (channels, samples), or (1, samples * channels) if these stand side by side
    if not frame.format.is_planar:
        values = values.reshape(frame.samples, -1).T
    scale = _FULL_SCALE.get(values.dtype.str[1:], 1)
    mean: NDArray[np.float64] = values.mean(axis=0, dtype=np.float64) / scale
    with np.errstate(over="ignore"):  # read_audio refuses what becomes infinite
        return (mean - 1 if values.dtype == np.uint8 else mean).astype(np.float32)


def _resampled(chunks: Iterator[tuple[NDArray[np.float32], int]], sampling_rate: int) -> Iterator[NDArray[np.float32]]:
    """The chunks at `sampling_rate`, whatever their own; one resampler for as long as that stays the same."""
    for rate, stretch in groupby(chunks, key=itemgetter(1)):
        if rate == sampling_rate:
            yield from (samples for samples, _ in stretch)
            continue
        resampler = AudioResampler(format="flt", layout="mono", rate=sampling_rate)
        for samples, _ in stretch:
            frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
            frame.sample_rate = rate
            yield from _arrays(resampler.resample(frame))
        yield from _arrays(resampler.resample(None))  # what its filter still holds


def _arrays(frames: list[AudioFrame]) -> Iterator[NDArray[np.float32]]:
    for frame in frames:
        yield frame.to_ndarray()[0].astype(np.float32, copy=False)
