"""Findings in documents made to show them, and none in sound ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.checked import check_files, check_rows, found_ids
from tunesmith.data.report.check import CheckedData
from tunesmith.data.report.check_text import summarise

CheckRows = Callable[..., CheckedData]

DOCUMENTS = [{"text": f"The number {n} comes before {n + 1}. " * 12} for n in range(60)]


@pytest.fixture
def check(model_folder: Callable[[str], Path], tmp_path: Path) -> CheckRows:
    def check(rows: list[Any], **keys: Any) -> CheckedData:
        return check_rows(model_folder("qwen2"), tmp_path, rows, stage="pt", **{"cutoff_len": 512, **keys})

    return check


def test_sound_documents_have_nothing_to_find(check: CheckRows) -> None:
    checked = check(DOCUMENTS)
    assert found_ids(checked) == {}
    train = checked.survey.report.train
    assert (train.rows, train.supervised_tokens) == (60, train.tokens - 60)
    assert not any("answers" in line.plain for line in summarise(checked))


def test_every_line_of_a_wrapped_text_as_a_document(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("".join(f"Line {n} of a book.\n\n" for n in range(60)))
    checked = check_files(model_folder("qwen2"), dataset=str(tmp_path / "book.txt"), stage="pt", cutoff_len=128)
    assert found_ids(checked) == {"short-documents": "warning"}
    assert checked.findings[0].title.startswith("half of the 60 documents have at most ")
    assert checked.survey.report.rows_read == 60


def test_the_same_document_twice_and_control_tokens_in_text(check: CheckRows) -> None:
    assert found_ids(check([*DOCUMENTS, *DOCUMENTS[:2]])) == {"duplicates": "note"}
    spelled = {"text": DOCUMENTS[0]["text"] + "<|endoftext|>" + DOCUMENTS[1]["text"]}
    assert found_ids(check([*DOCUMENTS, spelled])) == {"control-token-in-text": "note"}


def test_empty_documents_are_unusable(check: CheckRows) -> None:
    checked = check([*DOCUMENTS, {"text": " "}])
    assert found_ids(checked) == {"unusable-rows": "error"}
    assert checked.findings[0].title == "1 of 61 rows cannot be used: 1 empty document"


def test_the_chat_template_does_not_matter(check: CheckRows) -> None:
    checked = check(DOCUMENTS, template="llama3")
    assert found_ids(checked) == {}
    assert checked.survey.template.name == "no chat template"
