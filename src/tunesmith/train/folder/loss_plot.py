"""training_loss.png: the loss as it was, smoothed, and on held-out rows; beside it what a stage is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.train.folder.atomic import explained

_WINDOWS = 25
"""A curve is smoothed over about one in so many of its points, so that short and long runs both show their trend."""
Points = list[tuple[float, float]]

_BESIDE = {"reward": ("reward", "mean reward of an answer"), "rewards/accuracies": ("right order", "share of pairs")}
"""Metrics with a scale of their own, at the right; a run has one of them at most."""


def write_loss_plot(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Draw the lines of metrics.jsonl into a PNG. Without a single loss nothing is written."""
    losses = _points(lines, "loss")
    held_out = _points(lines, "eval_loss")
    if not losses and not held_out:
        return
    # the object interface: pyplot would keep state and may ask for a display
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if losses:
        axes.plot(*_columns(losses), color="tab:blue", alpha=0.35, label="training loss")
        axes.plot(*_columns(smooth(losses)), color="tab:blue", label="smoothed")
    if held_out:
        axes.plot(*_columns(held_out), color="tab:orange", marker="o", markersize=4, label="held-out loss")
    axes.set_xlabel("step")
    is_per_token = any("accuracy" in line or "eval_accuracy" in line for line in lines)
    axes.set_ylabel("loss (nats per supervised token)" if is_per_token else "loss")
    axes.grid(alpha=0.25)
    for metric, (label, scale) in _BESIDE.items():
        _draw_beside(axes, _points(lines, metric), _points(lines, f"eval_{metric}"), label=label, scale=scale)
    figure.legend(loc="outside upper center", ncols=5, fontsize="small")
    with explained(file):
        FigureCanvasAgg(figure)
        figure.savefig(file)


def _draw_beside(axes: Any, training: Points, held_out: Points, *, label: str, scale: str) -> None:
    """A metric on the right-hand `scale`, if there are values of it."""
    if not training and not held_out:
        return
    right = axes.twinx()
    right.set_ylabel(scale)
    if training:
        right.plot(*_columns(training), color="tab:green", alpha=0.2)
        right.plot(*_columns(smooth(training)), color="tab:green", label=label)
    if held_out:
        right.plot(*_columns(held_out), color="tab:olive", marker="o", markersize=4, label=f"{label}, held out")


def smooth(points: Points) -> Points:
    """Exponential moving average with the bias of its start taken out (as Adam does, arXiv 1412.6980 §3)."""
    kept = 1 - 1 / max(2, len(points) / _WINDOWS)
    smoothed: Points = []
    average = 0.0
    for index, (step, value) in enumerate(points, start=1):
        average = kept * average + (1 - kept) * value
        smoothed.append((step, average / (1 - kept**index)))
    return smoothed


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> Points:
    return [(line["step"], line[name]) for line in lines if line.get(name) is not None]


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
