"""Everything between the settings and the first batch: datasets opened, rows split and ordered, the first looked at.

What it costs does not grow with the rows: beyond the first of each dataset they are read and encoded when they are due.
Knows nothing of models' weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice, takewhile

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.cache.encodings import open_cache
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.examples import Examples
from tunesmith.data.feed.chosen_rows import ChosenRows, all_rows, hold_out
from tunesmith.data.feed.mixing import read_mix
from tunesmith.data.feed.order import EpochOrder, ListedOrder, Order
from tunesmith.data.feed.streaming import StreamOrder, hold_out_first
from tunesmith.data.problem import describe_problems
from tunesmith.data.report.findings import find
from tunesmith.data.report.first_look import NUM_FIRST_ROWS, FirstLook, FirstRows, look_at_first_rows
from tunesmith.data.report.report import DataReport
from tunesmith.data.report.report_builder import DatasetFacts, ReportBuilder, Use
from tunesmith.data.report.survey import Surveyor
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.data.store.address import RowRef
from tunesmith.errors import DataError, UsageError
from tunesmith.models.preprocessing.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class PreparedData:
    """What a training needs of its data.

    datasets: of `dataset`, then of `eval_dataset`, as RowRefs number them
    train:    the order of the rows to train on
    held_out: of the others, None where nothing is held out
    first:    what the first rows showed; `report_builder` holds them
    """

    datasets: tuple[Dataset, ...]
    examples: Examples
    encoder: Encoder
    preprocessor: Preprocessor
    media_inputs: MediaInputs
    train: Order
    held_out: Order | None
    first: FirstLook
    report_builder: ReportBuilder

    @property
    def report(self) -> DataReport:
        """What is known of the rows so far."""
        return self.report_builder.report()

    def collator(self, *, packed: bool, shared: bool = False) -> Collator:
        """What makes batches: `packed` into one sequence, or padded; answers to one beginning `shared` behind it."""
        return Collator(self.preprocessor, self.media_inputs, packed=packed, shared=shared)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a run by what they are for.

    train:    datasets of `dataset`; chosen: their rows to train on, None with streaming, where nobody counts rows
    held_out: rows of `eval_dataset`, or of the same datasets
    beginnings: with streaming, the rows that val_size holds out: the first of each of `train`
    """

    train: tuple[Dataset, ...]
    eval: tuple[Dataset, ...]
    chosen: ChosenRows | None
    held_out: ChosenRows | None
    beginnings: tuple[tuple[RowRef, ...], ...] = ()


def prepare_data(settings: Settings, preprocessor: Preprocessor) -> PreparedData:
    """Open the rows of `dataset` and `eval_dataset`, or hold out `val_size` of them, and look at the first.

    Raises DataError that lists every unusable row among them unless on_bad_row is skip, and where none of them can be
    used; UsageError for settings that do not fit one another.
    """
    rows = _open_rows(settings)
    order = _build_order(rows, settings)
    kind = settings.training.rows
    encoder = Encoder(preprocessor, build_template(preprocessor, settings.data, kind), settings.data, kind)
    datasets = (*rows.train, *rows.eval)
    examples = Examples(datasets, encoder, open_cache(encoder, settings.data))
    builder = ReportBuilder(_describe(rows), cutoff_len=settings.data.cutoff_len)
    surveyor = Surveyor(
        builder,
        examples=examples,
        preprocessor=preprocessor,
        template=encoder.template,
        data=settings.data,
        rows=kind,
    )
    first, problems = look_at_first_rows(_first_rows(rows), examples, surveyor)
    if problems and settings.data.on_bad_row == "stop":
        raise DataError(describe_problems(problems, num_rows=builder.report().rows_read))
    _require_usable(rows, builder.report())
    _warn(surveyor)
    return PreparedData(
        datasets=datasets,
        examples=examples,
        encoder=encoder,
        preprocessor=preprocessor,
        media_inputs=MediaInputs(preprocessor),
        train=order,
        held_out=_build_held_out_order(rows),
        first=first,
        report_builder=builder,
    )


def _open_rows(settings: Settings) -> _Rows:
    data = settings.data
    if data.eval_dataset and data.val_size:
        raise UsageError("eval_dataset and val_size both name rows to hold out; leave one of them out")
    train = open_datasets(data.dataset, settings)
    counted = settings.model_copy(update={"data": data.model_copy(update={"streaming": False})})
    held_out = open_datasets(data.eval_dataset, counted, first_number=len(train))
    if data.val_size and data.streaming:
        return _Rows(train, (), None, None, hold_out_first(train, num_rows=int(data.val_size)))
    if data.val_size:
        return _Rows(train, (), *hold_out(train, val_size=data.val_size, seed=settings.training.seed))
    chosen = None if data.streaming else all_rows(train)
    return _Rows(train, held_out, chosen, all_rows(held_out) if held_out else None)


def _build_order(rows: _Rows, settings: Settings) -> Order:
    training = settings.training
    seed = training.seed if training.data_seed is None else training.data_seed
    mix, shuffle = read_mix(settings.data), not training.disable_shuffling
    if rows.chosen is not None:
        return EpochOrder(rows.chosen, seed=seed, shuffle=shuffle, mix=mix)
    return StreamOrder(
        rows.train,
        seed=seed,
        shuffle=shuffle,
        mix=mix,
        buffer_size=settings.data.buffer_size,
        held_out=tuple(map(len, rows.beginnings)),
    )


def _build_held_out_order(rows: _Rows) -> Order | None:
    if rows.beginnings:
        return ListedOrder(tuple(chain.from_iterable(rows.beginnings)))
    return None if rows.held_out is None else EpochOrder(rows.held_out, shuffle=False)


def _describe(rows: _Rows) -> list[DatasetFacts]:
    counts = [None if rows.chosen is None else dataset.num_rows for dataset in rows.train]
    train = [DatasetFacts(item.name, item.place, count) for item, count in zip(rows.train, counts, strict=True)]
    return [*train, *(DatasetFacts(item.name, item.place, item.num_rows, "eval") for item in rows.eval)]


def _first_rows(rows: _Rows) -> list[FirstRows]:
    held_out = [] if rows.held_out is None else _first_chosen(rows.held_out, "eval")
    if rows.chosen is not None:
        return [*_first_chosen(rows.chosen, "train"), *held_out]
    held_out += [FirstRows(refs[:NUM_FIRST_ROWS], len(refs), "eval") for refs in rows.beginnings]
    skipped = tuple(map(len, rows.beginnings)) or (0,) * len(rows.train)
    firsts = [_first_streamed(dataset, skipped=num) for dataset, num in zip(rows.train, skipped, strict=True)]
    return [*(FirstRows(refs, None, "train") for refs in firsts), *held_out]


def _first_chosen(rows: ChosenRows, used_for: Use) -> list[FirstRows]:
    """Of the first rows of each dataset those that were chosen, which may be few."""
    return [
        FirstRows(
            [dataset.ref(int(index)) for index in takewhile(lambda index: index < NUM_FIRST_ROWS, indices)],
            len(indices),
            used_for,
        )
        for dataset, indices in zip(rows.datasets, rows.indices, strict=True)
    ]


def _first_streamed(dataset: Dataset, *, skipped: int) -> list[RowRef]:
    rows = (ref for block in dataset.blocks(rows_per_block=NUM_FIRST_ROWS) for ref in block.refs)
    return list(islice(rows, skipped, skipped + NUM_FIRST_ROWS))


def _require_usable(rows: _Rows, report: DataReport) -> None:
    """Raises DataError where no row looked at can be trained on, or evaluated on."""
    used = [(rows.train, report.train.rows)]
    used += [(rows.eval, report.eval.rows if report.eval else 0)] if rows.eval else []
    for datasets, num_usable in used:
        if not num_usable:
            names = ", ".join(dataset.name for dataset in datasets)
            lost = next(iter((*report.dropped, *report.skipped)), None)
            first = f"; the first: {lost.examples[0]}" if lost else ""
            among = "" if report.complete else f" (of the first {NUM_FIRST_ROWS:,})"
            raise DataError(f"no usable row is left of {names}{among}{first}")


def _warn(surveyor: Surveyor) -> None:
    """Say at once what would waste the run."""
    for finding in find(surveyor.survey()):
        if finding.severity != "note":
            log.warning(str(finding))
