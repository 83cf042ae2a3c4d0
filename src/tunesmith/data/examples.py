"""Rows of the opened datasets → examples, each with what became of it; the same in every process and thread.

    RowRef → raw row → encoding cache, else Conversation → Encoder → Outcome

Knows no order, no batches and no pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tunesmith.chat.message import Conversation, Media, RowSource
from tunesmith.data.cache.cached_example import CachedExample
from tunesmith.data.cache.encodings import CachedRow, EncodingCache, row_key
from tunesmith.data.cache.media_stamps import StampedMedia, light_media, stamps_of
from tunesmith.data.encoding.encode import Encoder
from tunesmith.data.encoding.encoded import Encoded, RowMedia
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.problem import RowError, RowProblem
from tunesmith.data.rows.dataset import Dataset
from tunesmith.data.store.address import RowRef
from tunesmith.errors import DataError
from tunesmith.media.download import UrlLimits
from tunesmith.media.image import check_image


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row: `encoded`, or the `problem` for which it is left out.

    cut: what the row lost to cutoff_len, as "text cut: the end of an answer cut"; None if nothing
    """

    ref: RowRef
    source: RowSource
    encoded: Encoded | None
    problem: RowProblem | None = None
    cut: str | None = None

    @property
    def is_dropped(self) -> bool:
        """Whether the row is sound, and left out for its length alone."""
        return self.problem is not None and self.problem.kind == RowTooLongError.KIND


class Examples:
    """Encodes rows of `datasets` on demand. May be used by any thread and any forked process.

    `datasets` stand in the order in which RowRef.dataset numbers them.
    """

    def __init__(self, datasets: Sequence[Dataset], encoder: Encoder, cache: EncodingCache | None = None) -> None:
        self.datasets = tuple(datasets)
        self._encoder = encoder
        self._cache = cache
        settings = encoder.preprocessor.media
        self._limits = UrlLimits(settings.url_timeout_s, settings.url_max_bytes)

    def outcomes(self, refs: Sequence[RowRef]) -> list[Outcome]:
        """What becomes of the rows at `refs`, in their order.

        A row that cannot be used is an outcome too. Raises DataError only for a file that cannot be read at all.
        """
        if self._cache is None:
            return [self._encode(ref).outcome for ref in refs]
        rows = [CachedRow(self.key(ref), ref, self.datasets[ref.dataset].source(ref)) for ref in refs]
        found = self._cache.find(rows)
        current = {ref: example for ref, example in found.items() if example.is_current(self._limits)}
        made = {row.ref: self._encode(row.ref) for row in rows if row.ref not in current}
        key_of = {row.ref: row.key for row in rows}
        self._cache.keep({key_of[ref]: item.example for ref, item in made.items() if item.example is not None})
        return [made[ref].outcome if ref in made else _recall(current[ref], ref) for ref in refs]

    def conversation(self, ref: RowRef) -> Conversation:
        """The row at `ref`. Raises RowError for one that cannot be used."""
        return self.datasets[ref.dataset].conversation(ref)

    def media(self, encoded: Encoded) -> tuple[Media, ...]:
        """The media of `encoded`; those that stand in the row are read from it again.

        Raises DataError where the row cannot be read any more.
        """
        if not any(isinstance(media, RowMedia) for media in encoded.media):
            return tuple(media for media in encoded.media if isinstance(media, Media))
        assert encoded.ref is not None, "only a row of a dataset has media that stand in the row"
        in_row = tuple(self.conversation(encoded.ref).media())
        return tuple(
            media if isinstance(media, Media) else _numbered(in_row, media, encoded.source) for media in encoded.media
        )

    def key(self, ref: RowRef) -> bytes:
        """The name of the row's content, in whatever file it stands: the same for two rows that encode alike."""
        dataset = self.datasets[ref.dataset]
        return row_key(dataset.raw(ref), dataset.layout_key)

    def _encode(self, ref: RowRef) -> _Made:
        dataset = self.datasets[ref.dataset]
        try:
            conversation = dataset.conversation(ref)
            media = tuple(self._look_at(item, light) for item, light in _pairs(conversation))
            trace = self._encoder.trace(conversation)
        except RowError as error:
            source = dataset.source(ref)
            return _Made(Outcome(ref, source, None, RowProblem(source, error.kind, error.detail)))
        cut = None if trace.cut is None else f"{trace.cut.kind} cut: {trace.cut.detail}"
        kept = _kept(conversation, trace.conversation)
        left = tuple(item.media for item, is_kept in zip(media, kept, strict=True) if is_kept)
        encoded = replace(trace.encoded, media=left, ref=ref)
        return _Made(Outcome(ref, encoded.source, encoded, cut=cut), CachedExample(encoded, media, kept, cut))

    def _look_at(self, media: Media, light: Media | RowMedia) -> StampedMedia:
        """The stamps of a medium before it is used, brought here if it is far. Raises RowError if it is not sound."""
        try:
            stamps = () if isinstance(light, RowMedia) else stamps_of(light, self._limits)
            if media.kind == "image":
                check_image(media, limits=self._limits)
        except DataError as error:
            raise RowError(f"unreadable {media.kind}", str(error)) from None
        return StampedMedia(light, stamps)


@dataclass(frozen=True, slots=True)
class _Made:
    """An outcome, and what the cache is to keep of it."""

    outcome: Outcome
    example: CachedExample | None = None


def _recall(example: CachedExample, ref: RowRef) -> Outcome:
    return Outcome(ref, example.encoded.source, example.encoded, cut=example.cut)


def _pairs(conversation: Conversation) -> Iterator[tuple[Media, Media | RowMedia]]:
    return zip(conversation.media(), light_media(conversation), strict=True)


def _kept(whole: Conversation, cut: Conversation) -> tuple[bool, ...]:
    """Which media of `whole` are still in what was cut out of it, which is its beginning or its end."""
    before, after = list(whole.media()), list(cut.media())
    num_lost = len(before) - len(after)
    is_beginning = all(old is new for old, new in zip(before, after, strict=False))
    kept, lost = (True,) * len(after), (False,) * num_lost
    return kept + lost if is_beginning else lost + kept


def _numbered(in_row: Sequence[Media], media: RowMedia, source: RowSource) -> Media:
    if media.number >= len(in_row):
        raise DataError(f"{source}: the row has changed since it was encoded; start the run again")
    return in_row[media.number]
