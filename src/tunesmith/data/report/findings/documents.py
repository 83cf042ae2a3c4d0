"""Documents from which a model does not learn what one is."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.report.findings.finding import Check, Finding, num_kept, reason_named, share
from tunesmith.data.report.row_signs import OPEN_DOCUMENT
from tunesmith.data.report.survey import Survey

_FEWEST_LINES = 50
_SHORT_TOKENS = 24
"""A line of 80 characters has about 20 tokens."""


def _open_documents(survey: Survey) -> Iterator[Finding]:
    found, kept = reason_named(survey, OPEN_DOCUMENT), num_kept(survey)
    if found.rows:
        yield Finding(
            "document-without-end",
            "error" if share(found.rows, kept) >= 0.5 else "warning",
            f"{found.rows:,} of {kept:,} documents end without an end token, so the model would learn to go on and on",
            "take a model whose tokenizer has an end token (eos_token in tokenizer_config.json)",
            found.examples,
        )


def _short_documents(survey: Survey) -> Iterator[Finding]:
    """A text that was wrapped at 80 characters, every line of which is now a document."""
    train = survey.report.train
    if survey.rows == "documents" and train.rows >= _FEWEST_LINES and train.lengths.p50 <= _SHORT_TOKENS:
        yield Finding(
            "short-documents",
            "warning",
            f"half of the {train.rows:,} documents have at most {train.lengths.p50:,} tokens, and no document sees "
            "another one",
            'every line of a .txt file is a document; if lines belong together, write {"text": …} with whole texts, '
            "one a line, into a .jsonl file",
        )


DOCUMENT_CHECKS: tuple[Check, ...] = (_open_documents, _short_documents)
