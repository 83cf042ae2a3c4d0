"""Runs side by side: which settings differ, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from tunesmith.runs.numbers import Numbers, read_numbers
from tunesmith.runs.overview import look_at
from tunesmith.runs.state import State
from tunesmith.runs.table import describe_place, render_columns
from tunesmith.train.folder.run_folder import RunFolder

_ABOUT_THE_PLACE = frozenset({"output_dir", "overwrite_output_dir", "run_name", "resume_from_checkpoint"})
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Results:
    """What came of a run; None where its metrics do not say.

    loss, eval_loss: the last ones; best_eval_loss and its step
    tokens_per_s, step_s: the medians of its lines
    """

    state: State
    steps: int | None
    loss: float | None
    eval_loss: float | None
    best_eval_loss: float | None
    best_step: int | None
    tokens_per_s: float | None
    step_s: float | None
    peak_memory_bytes: float | None
    supervised_tokens: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the runs; `settings` is None where run.yaml cannot be read."""

    path: Path
    settings: dict[str, Any] | None
    results: Results
    numbers: Numbers
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs, and the settings in which they differ: key, then a value for each run."""

    runs: tuple[Compared, ...]
    differing: tuple[tuple[str, tuple[Any, ...]], ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "runs": [
                {"path": str(run.path), **asdict(run.results), "problems": list(run.problems)} for run in self.runs
            ],
            "settings": {key: list(values) for key, values in self.differing},
        }


def compare(paths: Sequence[Path]) -> Comparison:
    """Read the runs whole."""
    runs = tuple(_read(path) for path in paths)
    settings = [run.settings for run in runs if run.settings is not None]
    keys = dict.fromkeys(key for kept in settings for key in kept if key not in _ABOUT_THE_PLACE)
    differing = tuple(
        (key, tuple(None if run.settings is None else run.settings.get(key) for run in runs))
        for key in keys
        if any(kept.get(key) != settings[0].get(key) for kept in settings)
    )
    return Comparison(runs, differing)


def render_comparison(comparison: Comparison) -> str:
    """Two tables, a column for each run, and what was wrong with their files."""
    names = [describe_place(run.path) for run in comparison.runs]
    settings = [[key, *map(_show_setting, values)] for key, values in comparison.differing]
    results = [
        [field.name, *(_show_result(field.name, run.results) for run in comparison.runs)] for field in fields(Results)
    ]
    problems = "".join(
        f"{describe_place(run.path)}: {problem}\n" for run in comparison.runs for problem in run.problems
    )
    differing = render_columns([["settings that differ", *names], *settings]) if settings else "no setting differs\n"
    numbers = range(1, len(names) + 1)
    return f"{differing}\n{render_columns([['results', *names], *results], numbers=numbers)}{problems}"


def _read(path: Path) -> Compared:
    folder, run = RunFolder(path), look_at(path)
    numbers = read_numbers(folder.metrics)
    settings, problem = _read_settings(folder)
    best, best_step = numbers.lowest("eval_loss") or (None, None)
    speeds, durations = numbers.values("tokens_per_s"), numbers.values("step_s")
    results = Results(
        state=run.state,
        steps=run.step,
        loss=numbers.last("loss"),
        eval_loss=numbers.last("eval_loss"),
        best_eval_loss=best,
        best_step=best_step,
        tokens_per_s=statistics.median(speeds) if speeds else None,
        step_s=statistics.median(durations) if durations else None,
        peak_memory_bytes=max(numbers.values("peak_memory_bytes"), default=None),
        supervised_tokens=numbers.last("supervised_tokens"),
    )
    problems = tuple(dict.fromkeys(note for note in (run.reason, *run.problems, numbers.problem, problem) if note))
    return Compared(path, settings, results, numbers, problems)


def _read_settings(folder: RunFolder) -> tuple[dict[str, Any] | None, str | None]:
    try:
        content = yaml.safe_load(folder.settings.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return None, f"{folder.settings.name} cannot be read: {str(error).partition(chr(10))[0]}"
    if not isinstance(content, dict):
        return None, f"{folder.settings.name} holds no settings"
    return content, None


def _show_setting(value: Any) -> str:
    return _NOTHING if value is None else str(value)


def _show_result(name: str, results: Results) -> str:
    value = asdict(results)[name]
    if value is None:
        return _NOTHING
    if name == "peak_memory_bytes":
        return f"{value / 1e9:.2f} GB"
    if name == "tokens_per_s":
        return f"{value:,.0f}"
    return f"{value:,.4f}" if isinstance(value, float) else str(value)
