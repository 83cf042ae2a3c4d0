"""Rows that stand there twice, tokens in disguise, and media too small to see anything in."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.problem import RowProblem
from tunesmith.data.report.findings.finding import Check, Finding, num_kept, percent, reason_named, share
from tunesmith.data.report.row_signs import CONTROL_TEXT, FEWEST_MEDIA_TOKENS, TINY_MEDIUM
from tunesmith.data.report.survey import Survey
from tunesmith.data.report.twins import Twins

_SOME_DUPLICATES, _MANY_DUPLICATES = 0.01, 0.1
_FEWEST_DUPLICATES = 2
_MUCH_CONTROL_TEXT = 0.1


def _tiny_media(survey: Survey) -> Iterator[Finding]:
    found, train = reason_named(survey, TINY_MEDIUM), survey.report.train
    media = train.media + (survey.report.eval.media if survey.report.eval else 0)
    if found.rows:
        yield Finding(
            "tiny-media",
            "error" if share(found.rows, media) >= 0.5 else "warning",
            f"{found.rows:,} rows have an image, video or audio clip of {FEWEST_MEDIA_TOKENS} tokens or fewer, in "
            "which there is nothing to see or hear",
            "check image_max_pixels, video_max_pixels and video_maxlen (they count pixels and frames), and the files",
            found.examples,
        )


def _control_text(survey: Survey) -> Iterator[Finding]:
    found, kept = reason_named(survey, CONTROL_TEXT), num_kept(survey)
    if found.rows:
        much = share(found.rows, kept) >= _MUCH_CONTROL_TEXT
        yield Finding(
            "control-token-in-text",
            "warning" if much else "note",
            f"the text of {found.rows:,} of {kept:,} rows spells control tokens; it is encoded as plain text",
            "if these rows were written for a chat template already, give the plain messages instead"
            if much
            else "nothing is wrong if these rows talk about such tokens",
            found.examples,
        )


def _duplicates(survey: Survey) -> Iterator[Finding]:
    found, rows = survey.duplicates, survey.report.train.rows
    if found.rows >= _FEWEST_DUPLICATES and share(found.rows, rows) >= _SOME_DUPLICATES:
        yield Finding(
            "duplicates",
            "warning" if share(found.rows, rows) >= _MANY_DUPLICATES else "note",
            f"{found.rows:,} of {rows:,} training rows ({percent(found.rows, rows)}) repeat another one word for word",
            "keep one of each: repeated rows are learned by heart",
            _pairs(found),
        )


def _leaks(survey: Survey) -> Iterator[Finding]:
    found, held_out = survey.leaks, survey.report.eval
    if found.rows and held_out:
        yield Finding(
            "validation-leak",
            "warning",
            f"{found.rows:,} of {held_out.rows:,} held-out rows stand in training too, so eval_loss looks better than "
            "it is",
            "remove them from one of the two; with val_size, remove the duplicates",
            _pairs(found),
        )


def _pairs(twins: Twins) -> tuple[RowProblem, ...]:
    return tuple(RowProblem(row, "", f"the same as {other}") for row, other in twins.examples)


CONTENT_CHECKS: tuple[Check, ...] = (_tiny_media, _control_text, _duplicates, _leaks)
