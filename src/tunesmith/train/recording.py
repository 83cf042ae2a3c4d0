"""Everything that shows a run while it goes on, opened and closed together: status, metrics file, display, trackers,
loss plot.

Knows nothing of what trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.config.write import flatten
from tunesmith.errors import RunError
from tunesmith.train.display.progress import LineDisplay, displaying
from tunesmith.train.display.recorder import Recorder
from tunesmith.train.display.reported import ReportedDisplay
from tunesmith.train.folder.json_lines import read_lines
from tunesmith.train.folder.loss_plot import write_loss_plot
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.folder.status import reporting
from tunesmith.train.trackers.background import BackgroundTracker
from tunesmith.train.trackers.table import open_trackers
from tunesmith.train.trackers.tracker import TrackedRun


@contextmanager
def recording(
    folder: RunFolder, settings: Settings, *, total_steps: int, exact: bool, first_step: int, is_first: bool = True
) -> Iterator[Recorder]:
    """Display and trackers, finished however the run ends; the loss plot is drawn then, and the status tells the end.

    exact:    whether `total_steps` is known, or about right
    is_first: whether this process is the one that writes; the others record nothing
    """
    if not is_first:
        yield Recorder(None, LineDisplay(total_steps=total_steps, exact=exact))
        return
    with (
        reporting(folder, step=first_step, total_steps=total_steps, exact=exact) as report,
        _tracking(folder, settings) as trackers,
        displaying(total_steps=total_steps, exact=exact, first_step=first_step) as display,
    ):
        yield Recorder(folder.metrics, ReportedDisplay(display, report), trackers)


@contextmanager
def _tracking(folder: RunFolder, settings: Settings) -> Iterator[Sequence[BackgroundTracker]]:
    trackers = open_trackers(_describe(folder, settings))
    try:
        yield tuple(trackers)
    finally:
        _draw_losses(folder)
        for tracker in trackers:
            tracker.finish()


def _describe(folder: RunFolder, settings: Settings) -> TrackedRun:
    place, tracking = folder.path.absolute(), settings.tracking
    return TrackedRun(place, tracking.run_name or place.name, flatten(settings), tracking)


def _draw_losses(folder: RunFolder) -> None:
    try:
        write_loss_plot(folder.loss_plot, read_lines(folder.metrics))
    except RunError as error:
        log.warning(str(error))
