"""How much of the data is lost, and whether what is left is in proportion."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.config.packing import wants_packs
from tunesmith.data.report.findings.finding import Check, Finding, evidence_at, percent, share
from tunesmith.data.report.survey import Survey

_MOST_CUT, _MOST_DROPPED, _MOST_LOST = 0.2, 0.05, 0.5
_LEAST_SHARE = 0.01
_MOST_MEDIA, _LEAST_SUPERVISED = 0.9, 0.01
_FEWEST_PACKS = 4
_ROOMY, _TIMES_TOO_LONG = 4096, 16


def _unusable_rows(survey: Survey) -> Iterator[Finding]:
    skipped, read = survey.report.skipped, survey.report.rows_read
    if skipped:
        stops = survey.data.on_bad_row == "stop"
        counted = ", ".join(f"{reason.rows:,} {reason.kind}" for reason in skipped)
        yield Finding(
            "unusable-rows",
            "error" if stops else "warning",
            f"{len(skipped):,} of {read:,} rows cannot be used: {counted}",
            "correct these rows, or set on_bad_row: skip to train without them" if stops else "they are left out",
            tuple(example for reason in skipped for example in reason.examples[:3]),
        )


def _nothing_left(survey: Survey) -> Iterator[Finding]:
    report = survey.report
    wanted = any(dataset.used_for == "train" for dataset in report.datasets)
    if wanted and report.rows_read and not report.train.rows:
        yield Finding(
            "no-rows-left",
            "error",
            f"none of the {report.rows_read:,} rows is left to train on",
            "see why below" if report.dropped or report.skipped else "val_size holds all of them out; lower it",
        )


def _cut_rows(survey: Survey) -> Iterator[Finding]:
    found = [reason for reason in survey.report.cut if reason.kind != "comparison cut"]
    cut, rows = sum(reason.rows for reason in found), survey.report.rows_read
    if share(cut, rows) >= _MOST_CUT:
        yield Finding(
            "many-rows-cut",
            "error" if share(cut, rows) >= _MOST_LOST else "warning",
            f"{cut:,} of {rows:,} rows ({percent(cut, rows)}) do not fit cutoff_len: "
            f"{survey.data.cutoff_len:,} and lose turns or text",
            "raise cutoff_len, make media smaller (image_max_pixels, video_maxlen), or leave them out (overlong: drop)",
            found[0].examples,
        )


def _dropped_rows(survey: Survey) -> Iterator[Finding]:
    dropped, rows = len(survey.report.dropped), survey.report.rows_read
    if share(dropped, rows) >= _MOST_DROPPED:
        yield Finding(
            "many-rows-dropped",
            "error" if share(dropped, rows) >= _MOST_LOST else "warning",
            f"{dropped:,} of {rows:,} rows ({percent(dropped, rows)}) are left out for their length, "
            f"cutoff_len is {survey.data.cutoff_len:,}",
            "raise cutoff_len, or make media smaller (image_max_pixels, video_maxlen)",
            survey.report.dropped.reasons[0].examples,
        )


def _cutoff_too_large(survey: Survey) -> Iterator[Finding]:
    data, train = survey.data, survey.report.train
    if wants_packs(data, survey.rows) and survey.report.complete and 0 < train.tokens < _FEWEST_PACKS * data.cutoff_len:
        yield Finding(
            "cutoff-above-need",
            "warning",
            f"all {train.tokens:,} training tokens fit in {-(-train.tokens // data.cutoff_len)} packs of cutoff_len: "
            f"{data.cutoff_len:,}, so an epoch is hardly a step",
            f"lower cutoff_len; the longest row has {train.longest_tokens:,} tokens",
        )
    elif data.cutoff_len > _ROOMY and 0 < train.longest_tokens * _TIMES_TOO_LONG < data.cutoff_len:
        yield Finding(
            "cutoff-above-need",
            "note",
            f"the longest row has {train.longest_tokens:,} tokens, cutoff_len is {data.cutoff_len:,}",
            "nothing is wrong; a lower cutoff_len would show at once when a row is far longer than it should be",
        )


def _media_dominate(survey: Survey) -> Iterator[Finding]:
    train = survey.report.train
    if (
        share(train.media_tokens, train.tokens) >= _MOST_MEDIA
        and share(train.supervised_tokens, train.tokens) < _LEAST_SUPERVISED
    ):
        yield Finding(
            "media-dominate",
            "note",
            f"{percent(train.media_tokens, train.tokens)} of the training tokens stand for media, "
            f"{percent(train.supervised_tokens, train.tokens)} are in the loss",
            "smaller media (image_max_pixels, video_maxlen, video_max_pixels) make every step faster, if the task "
            "needs no fine detail",
        )


def _uneven_mixture(survey: Survey) -> Iterator[Finding]:
    used = [dataset for dataset in survey.report.datasets if dataset.used_for == "train"]
    total = sum(dataset.tokens for dataset in used)
    if survey.data.mix_strategy != "concat" or not survey.report.complete:
        return
    for dataset in used:
        if total and share(dataset.tokens, total) < _LEAST_SHARE:
            yield Finding(
                "uneven-mixture",
                "warning",
                f"dataset {dataset.name} gives {percent(dataset.tokens, total)} of the training tokens, so it will "
                "hardly be learned beside the others",
                "repeat it (num_samples in dataset_info.json), set mix_strategy: interleave_over, or take less of the "
                "others",
            )


def _cut_middle_of_answers(survey: Survey) -> Iterator[Finding]:
    """Answers that lost their end and got an end token all the same: the model learns to stop in mid-sentence."""
    found = [reason for reason in survey.report.cut if reason.kind == "text cut"]
    lost = [example for reason in found for example in reason.examples if "end of an answer" in example.detail]
    total = sum(reason.rows for reason in found)
    if lost and share(total, survey.report.rows_read) >= _MOST_DROPPED:
        yield Finding(
            "answers-cut",
            "warning",
            f"{total:,} rows lose text to cutoff_len: {survey.data.cutoff_len:,}, among them ends of answers, so the "
            "model would learn to stop in mid-sentence",
            "raise cutoff_len, or leave such rows out (overlong: drop)",
            evidence_at(lost[0].source, lost[0].detail),
        )


AMOUNT_CHECKS: tuple[Check, ...] = (
    _nothing_left,
    _unusable_rows,
    _cut_rows,
    _dropped_rows,
    _cut_middle_of_answers,
    _cutoff_too_large,
    _media_dominate,
    _uneven_mixture,
)
