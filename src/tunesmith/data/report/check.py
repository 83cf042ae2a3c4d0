"""A run's data from beginning to end through encoding, in several processes, without model weights.

    rows of every dataset → (worker) Outcome and RowSigns → Surveyor → Survey → findings

Knows nothing of pages and terminals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any

from tunesmith.config.settings import Settings
from tunesmith.data.cache.encodings import open_cache
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.feed.workers import NoWorkers, Ticket, WorkerProcesses, Workers, num_usable_cores
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.check_rows import CheckedDataset, open_rows
from tunesmith.data.report.findings import Finding, find
from tunesmith.data.report.preview import PreviewedRow, trace_rows
from tunesmith.data.report.report_builder import ReportBuilder, Use
from tunesmith.data.report.row_signs import RowSigns, SignReader
from tunesmith.data.report.survey import Survey, Surveyor, read_signs
from tunesmith.data.store.address import RowRef
from tunesmith.models.load import require_name
from tunesmith.models.preprocessing.processor import load_preprocessor

NUM_SAMPLES = 8
"""Rows shown in full, of each dataset."""

_ROWS_OF_A_CHUNK = 64
_CHUNKS_AHEAD = 4
"""For each worker: enough to keep it busy, few enough to keep memory flat."""

_FEWEST_FOR_PROCESSES = 256
"""Rows below which starting processes takes longer than the work."""

Watch = Callable[[int, int | None], None]
"""Told how many rows were looked at, of how many (None: unknown)."""


@dataclass(frozen=True, slots=True)
class CheckedData:
    """What the check of a run's data found. `samples` are the first rows of each dataset after every step."""

    model: str
    survey: Survey
    findings: tuple[Finding, ...]
    samples: tuple[PreviewedRow | RowProblem, ...]

    @property
    def has_errors(self) -> bool:
        """Whether a training would stop, or be wasted."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """What data_report.json holds: the report, sums over judged answers if there are any, and the findings."""
        judged = {"answers": asdict(self.survey.answers)} if self.survey.answers.describe() else {}
        findings = [finding.to_dict() for finding in self.findings]
        return {**self.survey.report.to_dict(), **judged, "findings": findings}


def check_data(settings: Settings, *, limit: int | None, watch: Watch) -> CheckedData:
    """Look at all rows of `dataset` and `eval_dataset`, or at the first `limit` rows of each dataset.

    `watch` hears of the progress. Raises UsageError and DataError as a training would; unusable rows are findings.
    """
    data = settings.data
    preprocessor = load_preprocessor(settings.model, settings.media)
    rows = settings.training.rows
    template = build_template(preprocessor, data, rows)
    encoder = Encoder(preprocessor, template, data, rows)
    opened = open_rows(settings, limit=limit)
    datasets = [checked.dataset for checked in opened]
    examples = Examples(datasets, encoder, open_cache(encoder, data))
    report = ReportBuilder([checked.facts for checked in opened], cutoff_len=data.cutoff_len)
    surveyor = Surveyor(report, examples=examples, preprocessor=preprocessor, template=template, data=data, rows=rows)
    done, total = 0, _count(opened)
    for use, found in _look_at_all(
        opened, _Look(examples, SignReader(preprocessor, rows)), data.preprocessing_num_workers
    ):
        for outcome, signs in found:
            surveyor.add(outcome, signs, used_for=use)
        done += len(found)
        watch(done, total)
    survey = surveyor.survey()
    first = (islice(trace_rows(dataset, encoder, preprocessor), NUM_SAMPLES) for dataset in datasets)
    return CheckedData(require_name(settings.model), survey, tuple(find(survey)), tuple(chain.from_iterable(first)))


_Found = list[tuple[Outcome, RowSigns | None]]


@dataclass(frozen=True, slots=True)
class _Look:
    """What a worker does: a chunk of rows → what became of each, and its signs."""

    examples: Examples
    reader: SignReader

    def __call__(self, refs: Sequence[RowRef]) -> _Found:
        return list(read_signs(self.examples.outcomes(refs), self.examples, self.reader))


def _look_at_all(
    datasets: Sequence[CheckedDataset], look: _Look, num_workers: int | None
) -> Iterator[tuple[Use, _Found]]:
    """What becomes of every row, in order. The first are looked at here, lest every worker say the same notes."""
    chunks = (chunk for dataset in datasets for chunk in dataset.chunks(size=_ROWS_OF_A_CHUNK))
    for use, refs in islice(chunks, 1):
        yield use, look(refs)
    with closing(_workers(look, _count(datasets), num_workers)) as workers:
        yield from _look_ahead(workers, chunks)


def _count(datasets: Sequence[CheckedDataset]) -> int | None:
    """Rows that will be looked at; None where nobody knows."""
    counts = [dataset.num_looked_at for dataset in datasets]
    return None if None in counts else sum(count for count in counts if count is not None)


def _workers(look: _Look, num_rows: int | None, wanted: int | None) -> Workers:
    count = num_usable_cores() if wanted is None else wanted
    is_small = num_rows is not None and num_rows < _FEWEST_FOR_PROCESSES
    return NoWorkers(look) if count == 1 or is_small else WorkerProcesses(look, count=count)


def _look_ahead(workers: Workers, chunks: Iterable[tuple[Use, Sequence[RowRef]]]) -> Iterator[tuple[Use, _Found]]:
    """What the workers find, in the order of `chunks`, a few chunks ahead for each."""
    waiting: deque[tuple[Use, Ticket]] = deque()
    for use, refs in chunks:
        waiting.append((use, workers.submit(refs)))
        if len(waiting) > workers.count * _CHUNKS_AHEAD:
            first, ticket = waiting.popleft()
            yield first, workers.result(ticket)
    for use, ticket in waiting:
        yield use, workers.result(ticket)
