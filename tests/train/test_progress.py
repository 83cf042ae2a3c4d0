"""What a user sees, and the loss plot."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress, TextColumn

from tunesmith.train.display.progress import BarDisplay, LineDisplay, StepStatus, describe_line, displaying
from tunesmith.train.folder.loss_plot import smooth, write_loss_plot

LINE = {"step": 20, "epoch": 0.5, "loss": 1.25, "learning_rate": 1e-4, "tokens_per_s": 1234.5, "data_wait_s": 0.0}
STATUS = StepStatus(loss=1.25, learning_rate=1e-4, tokens_per_s=1234.5, data_wait_s=0.25)


def test_a_training_line_in_words():
    assert describe_line(LINE, total="40") == "step 20/40  epoch 0.50  loss 1.2500  lr 1.00e-04  1,234 tok/s"
    assert "nothing in the loss" in describe_line({**LINE, "loss": None})
    assert describe_line({**LINE, "data_wait_s": 1.5}).endswith("1,234 tok/s  waited 1,500 ms for data")


def test_an_evaluation_in_words():
    line = {"step": 20, "eval_loss": 2.0, "eval_accuracy": 0.5}
    assert describe_line(line) == "step 20  eval loss 2.0000  token accuracy 50.0%"


def test_without_a_terminal_there_are_plain_lines(caplog):
    logging.getLogger("tunesmith").propagate = True
    with (
        caplog.at_level(logging.INFO, logger="tunesmith"),
        displaying(total_steps=40, exact=False, first_step=0) as display,
    ):
        assert isinstance(display, LineDisplay)
        display.step(20, STATUS)
        display.line(LINE)
    assert [record.message for record in caplog.records] == [describe_line(LINE, total="about 40")]


def test_the_bar_shows_loss_rate_and_speed():
    screen = io.StringIO()
    progress = Progress(
        TextColumn("{task.fields[status]}"), console=Console(file=screen, force_terminal=True, width=120)
    )
    display = BarDisplay(progress, progress.add_task("", total=40, status=""), total_steps=40)
    with progress:
        display.step(20, STATUS)
        display.line({"step": 20, "eval_loss": 2.0, "eval_accuracy": 0.5})
        progress.refresh()
    assert "loss 1.2500  lr 1.00e-04  1,234 tok/s  waited 250 ms for data" in screen.getvalue()
    assert "eval loss 2.0000" in screen.getvalue()


def test_smoothing_starts_at_the_first_value_and_follows():
    points = smooth([(step, 2.0) for step in range(5)])
    assert [value for _, value in points] == pytest.approx([2.0] * 5)
    assert smooth([(0, 0.0), (1, 1.0)])[1][1] == pytest.approx(0.5 / 0.75)


def test_the_plot_draws_raw_smoothed_and_held_out(tmp_path):
    lines = [{"step": step, "loss": 5.0 / step + 0.3 * (step % 2)} for step in range(1, 60)]
    lines += [{"step": step, "eval_loss": 5.0 / step + 0.5} for step in range(10, 60, 10)]
    write_loss_plot(tmp_path / "training_loss.png", lines)
    picture = np.asarray(Image.open(tmp_path / "training_loss.png").convert("RGB")).astype(int)
    assert picture.shape == (540, 960, 3)
    blue, orange = (31, 119, 180), (255, 127, 14)
    for colour in (blue, orange):
        assert (np.abs(picture - colour).sum(-1) < 30).sum() > 100


def test_a_run_without_a_loss_has_no_plot(tmp_path):
    write_loss_plot(tmp_path / "training_loss.png", [{"step": 1, "loss": None}])
    assert not list(tmp_path.iterdir())
