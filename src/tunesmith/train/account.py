"""What became of the rows a run has looked at: every row once, however many epochs train on it.

Knows nothing of checkpoints, in which its state travels.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.examples import Outcome
from tunesmith.data.report.report_builder import ReportBuilder, Use
from tunesmith.data.store.address import RowRef
from tunesmith.train.folder.atomic import write_text
from tunesmith.train.steps.feed import FedStep


@dataclass(frozen=True, slots=True)
class RowAccount:
    """Adds the rows of the first epoch to `builder`, but for those `looked_at` before the training, which it holds."""

    builder: ReportBuilder
    looked_at: Collection[RowRef]

    def take_in(self, fed: FedStep, *, padding: int) -> None:
        """The rows of one finished step, and the padding tokens of its batches."""
        self.builder.add_padding(padding)
        if fed.after.epoch > 0:
            return
        self._add(fed.outcomes, used_for="train")

    def take_in_held_out(self, outcomes: Iterable[Outcome]) -> None:
        """Rows of the first evaluation."""
        self._add(outcomes, used_for="eval")

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self.builder.to_json()

    def write(self, file: Path) -> None:
        """data_report.json as it stands. Raises RunError where the disk refuses."""
        write_text(file, json.dumps(self.builder.report().to_dict(), ensure_ascii=False, indent=1) + "\n")

    def _add(self, outcomes: Iterable[Outcome], *, used_for: Use) -> None:
        for outcome in outcomes:
            if outcome.ref not in self.looked_at:
                self.builder.add(outcome, used_for=used_for)
