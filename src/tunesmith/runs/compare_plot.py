"""Losses of several runs in one picture. matplotlib is loaded only here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tunesmith.errors import RunError
from tunesmith.runs.compare import Compared
from tunesmith.runs.numbers import Numbers
from tunesmith.runs.table import describe_place
from tunesmith.train.folder.atomic import explained
from tunesmith.train.folder.loss_plot import Points, smooth


def write_comparison_plot(file: Path, runs: Iterable[Compared]) -> None:
    """A colour for each run: training loss smoothed, held-out loss dotted. Raises RunError where no run has a loss."""
    drawn = [(run, _points(run.numbers, "loss"), _points(run.numbers, "eval_loss")) for run in runs]
    if not any(losses or held_out for _, losses, held_out in drawn):
        raise RunError(f"{file} is not written: none of the runs has logged a loss yet")
    # the object interface: pyplot would keep state and may ask for a display
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, (run, losses, held_out) in enumerate(drawn):
        colour, label = f"C{number}", describe_place(run.path)
        axes.plot(*_columns(smooth(losses)), color=colour, label=label)
        if held_out:
            axes.plot(*_columns(held_out), color=colour, linestyle=":", marker="o", markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (dotted: held out)")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    with explained(file):
        FigureCanvasAgg(figure)
        figure.savefig(file, format="png")


def _points(numbers: Numbers, name: str) -> Points:
    return [(line["step"], line[name]) for line in numbers.lines if line.get(name) is not None]


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
