"""The first rows tell how many samples rows give, and no more of them are read than tells something."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.prepare import prepare_data
from tunesmith.data.report.first_look import FirstLook
from tunesmith.models.preprocessing.processor import Preprocessor

TEXTS = ["a word. " * (1 + 40 * number) for number in range(4)]


@pytest.fixture
def look(preprocessor_of: Callable[[str], Preprocessor], tmp_path: Path) -> Callable[[], FirstLook]:
    def prepare() -> FirstLook:
        file = tmp_path / "documents.json"
        file.write_text(json.dumps([{"text": text} for text in TEXTS]), encoding="utf-8")
        data = DataSettings(dataset=str(file), cutoff_len=100)
        settings = Settings(data=data, training=TrainingSettings(stage="pt"))
        return prepare_data(settings, preprocessor_of("qwen2")).first

    return prepare


def test_a_long_document_counts_as_its_pieces(look: Callable[[], FirstLook]) -> None:
    first = look()
    lengths = list(first.parts[0].lengths.values())
    assert len(lengths[0]) == 1 and lengths[3][:-1] == (100,) * (len(lengths[3]) - 1)
    assert first.complete and first.usable_share == 1
    assert first.samples_per_row == sum(map(len, lengths)) / 4 > 2
    assert max(map(len, first.samples)) == 100 and sum(map(len, first.samples)) == sum(map(sum, lengths))


def test_books_are_not_all_read_before_the_training_starts(
    look: Callable[[], FirstLook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.data.report.first_look._MOST_TOKENS", 200)
    monkeypatch.setattr("tunesmith.data.report.first_look._ROWS_AT_ONCE", 1)
    first = look()
    assert [ref.row for ref in first.parts[0].lengths] == [0, 1] and len(first.refs) == 2
    assert not first.complete
