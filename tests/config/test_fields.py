"""fields.json and docs/settings.md are what the sections say."""

from __future__ import annotations

from pathlib import Path

from tunesmith.config.describe import render_table
from tunesmith.config.fields import FIELDS, TABLE
from tunesmith.config.reference import PAGE, render_reference
from tunesmith.config.settings import Settings


def test_the_table_is_the_sections() -> None:
    assert TABLE.read_text(encoding="utf-8") == render_table(), "a section changed: run `make keys`"


def test_the_page_is_the_sections() -> None:
    page = Path(__file__).parents[2] / "docs" / PAGE
    assert page.read_text(encoding="utf-8") == render_reference(), "a section or a known key changed: run `make keys`"


def test_defaults_of_the_table_are_those_of_the_sections() -> None:
    sections = Settings().model_dump(mode="json")
    assert {key: row.default for key, row in FIELDS.items()} == {
        key: sections[row.section][key] for key, row in FIELDS.items()
    }
