"""The reference's log-probabilities of every row before the first step, so that no step has to run it.

Values are kept beside the encoding cache, so an interrupted pass goes on, and the next run with the same reference and
rows has nothing to compute. Knows nothing of how a reference is made.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tunesmith import env, log
from tunesmith.config.settings import Settings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.cache.cache_file import SUFFIX, CacheFile
from tunesmith.data.feed.order import EpochOrder, ListedOrder, Order
from tunesmith.data.feed.pipeline import MicroBatch, Pipeline
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.prepare import PreparedData
from tunesmith.data.reference_values import StoredValues, tokens_of_rows
from tunesmith.data.store.address import RowRef
from tunesmith.errors import UsageError
from tunesmith.media.download import UrlLimits
from tunesmith.train.display.counting import counting
from tunesmith.train.reference.choose import Kind
from tunesmith.train.reference.kinds import AdapterOff, OtherModel
from tunesmith.train.steps.forward import Forward

FOLDER = "references"
"""In the cache folder."""

_ROWS_OF_A_CHUNK = 1024


def wants_precompute(settings: Settings, kind: Kind, order: Order, *, cuts: bool = False) -> bool:
    """Whether the reference's values are computed once, before the training.

    `auto` does so where that saves memory or time and never costs much more than it saves: every row must be known
    (no streaming) and come up at least once. A copy or another model then needs no memory while the model trains; the
    model with its adapter off needs none anyway, so it has to be more than one epoch, each of which would compute the
    same again. Raises UsageError for `true` with streaming.
    """
    wanted = settings.preference.precompute_ref
    num_rows = order.num_rows(0)
    if wanted is True and num_rows is None:
        raise UsageError(
            "precompute_ref: true needs to know all rows before the training, and with streaming nobody does; set "
            "precompute_ref: auto, or streaming: false"
        )
    if wanted != "auto" or num_rows is None:
        return wanted is True
    if env.world_size() > 1:  # each process would compute all rows: only where there is no other way
        return kind == "frozen copy" and cuts
    epochs = _epochs(settings, num_rows)
    return epochs > 1 if kind == "adapter off" else epochs >= 1


def _epochs(settings: Settings, num_rows: int) -> float:
    training = settings.training
    if training.max_steps <= 0:
        return training.num_train_epochs
    rows_per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return training.max_steps * rows_per_step / max(num_rows, 1)


def open_values(data: PreparedData, settings: Settings, *, reference_key: str) -> StoredValues:
    """Where the values of the reference of that key are kept: beside the encoding cache, or for this run alone with
    `encoding_cache: false`. With `overwrite_cache` only what is computed from now on is found.
    """
    media, since_ns = settings.media, time.time_ns() if settings.data.overwrite_cache else 0
    return StoredValues(
        file=CacheFile(_folder(settings) / f"{reference_key}{SUFFIX}", since_ns=since_ns, name="cache of references"),
        examples=data.examples,
        limits=UrlLimits(media.url_timeout_s, media.url_max_bytes),
        has_media=bool(data.preprocessor.kinds),
    )


def _folder(settings: Settings) -> Path:
    if settings.data.encoding_cache:
        return env.cache_folder() / FOLDER
    folder = tempfile.TemporaryDirectory(prefix="tunesmith-references-")
    _of_this_process.append(folder)
    return Path(folder.name)


_of_this_process: list[tempfile.TemporaryDirectory[str]] = []
"""Deleted when the process ends."""


def all_refs(data: PreparedData) -> Iterator[RowRef]:
    """Every row of the training and the held-out data, each once for every time that it stands there."""
    for order in (data.train, data.held_out):
        if order is not None:
            whole = EpochOrder(order.rows, shuffle=False) if isinstance(order, EpochOrder) else order
            yield from (ref for chunk in whole.chunks(FeedPosition(), size=_ROWS_OF_A_CHUNK) for ref in chunk.refs)


@dataclass(frozen=True, slots=True)
class Precomputation:
    """One pass over rows: batches of `pipeline_of(order)` through `reference` into `values`.

    forward:  of the model that will train
    may_skip: whether rows that cannot be used are left out
    """

    reference: AdapterOff | OtherModel
    forward: Forward
    values: StoredValues
    pipeline_of: Callable[[Order], Pipeline]
    may_skip: bool

    def run(self, refs: Sequence[RowRef]) -> bool:
        """Compute and keep the values of `refs`; whether they could be kept. Raises DataError as a training does."""
        lacking = self._from_the_first_example(refs)
        if not lacking:
            return True
        log.info(f"computing what {len(lacking):,} rows are compared with ({self.reference.description}), once")
        pipeline = self.pipeline_of(ListedOrder(tuple(lacking)))
        with counting(len(lacking), "rows") as count, closing(pipeline.micro_batches(last_epoch=0)) as micro_batches:
            for values in self._values(micro_batches):
                if not self.values.keep(values):
                    return False
                count(len(values))
        return True

    def _from_the_first_example(self, refs: Sequence[RowRef]) -> Sequence[RowRef]:
        """`refs` without the unusable ones at the beginning: a pipeline refuses to run for such rows alone."""
        for number, ref in enumerate(refs):
            (outcome,) = self.values.examples.outcomes([ref])
            if outcome.encoded is not None or not (self.may_skip or outcome.is_dropped):
                return refs[number:]
            self.values.keep({ref: None})
        return ()

    def _values(self, micro_batches: Iterable[MicroBatch]) -> Iterator[dict[RowRef, np.ndarray | None]]:
        """The values of each micro-batch, read once the next one is on its way."""
        under_way: tuple[MicroBatch, Tensor | None] | None = None
        for micro_batch in micro_batches:
            computed = None if micro_batch.batch is None else self._log_probabilities(micro_batch.batch)
            if under_way is not None:
                yield _by_row(*under_way)
            under_way = micro_batch, computed
        if under_way is not None:
            yield _by_row(*under_way)

    def _log_probabilities(self, batch: Batch) -> Tensor:
        """(tokens,) of the batch, then of its mismatched answers."""
        moved, model = batch.to(self.forward.device), self.forward.model
        with self.forward.autocast(), self.reference.sharing(model):
            parts = [moved] if moved.mismatched is None else [moved, moved.mismatched]
            return torch.cat([self.reference.log_probabilities(model, part) for part in parts])


def _by_row(micro_batch: MicroBatch, computed: Tensor | None) -> dict[RowRef, np.ndarray | None]:
    """The values of the rows of a micro-batch, None for those without an example."""
    values: dict[RowRef, np.ndarray | None] = {outcome.ref: None for outcome in micro_batch.outcomes}
    if micro_batch.batch is None or computed is None:
        return values
    batch, numbers = micro_batch.batch, computed.cpu().numpy()
    own = np.split(numbers[: len(batch.targets)], np.cumsum(tokens_of_rows(batch))[:-1])
    refs = [ref for ref in batch.refs if ref is not None]
    if batch.mismatched is None:
        return values | dict(zip(refs, own, strict=True))
    other = np.split(numbers[len(batch.targets) :], np.cumsum(tokens_of_rows(batch.mismatched))[:-1])
    return values | {ref: np.concatenate(pair) for ref, *pair in zip(refs, own, other, strict=True)}
