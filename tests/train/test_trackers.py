"""Trackers get the numbers, and whatever goes wrong with one is a single warning."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from tunesmith import extras
from tunesmith.config.training import TrackingSettings
from tunesmith.errors import UsageError
from tunesmith.train.display.progress import LineDisplay
from tunesmith.train.display.recorder import Recorder
from tunesmith.train.trackers.background import BackgroundTracker
from tunesmith.train.trackers.table import open_trackers, wanted_trackers
from tunesmith.train.trackers.tracker import TrackedRun


class ListTracker:
    """Keeps what it gets."""

    def __init__(self):
        self.got, self.finished, self.thread = [], False, None

    def log(self, metrics, *, step):
        self.thread = threading.current_thread()
        self.got.append((step, metrics))

    def finish(self):
        self.finished = True


@pytest.fixture
def messages(caplog):
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    return caplog


def tracked(tmp_path, **tracking):
    return TrackedRun(tmp_path, "run", {"learning_rate": 1e-4}, TrackingSettings(**tracking))


def test_numbers_arrive_in_order_in_a_thread_of_their_own():
    tracker = ListTracker()
    background = BackgroundTracker("list", lambda: tracker)
    for step in range(3):
        background.log({"train/loss": float(step)}, step=step)
    background.finish()
    assert tracker.got == [(step, {"train/loss": float(step)}) for step in range(3)]
    assert tracker.finished
    assert tracker.thread is not threading.main_thread()


@pytest.mark.parametrize("broken", ["open", "log", "finish"])
def test_a_broken_tracker_warns_once_and_stops_nothing(broken, messages):
    class Broken(ListTracker):
        def __init__(self):
            super().__init__()
            if broken == "open":
                raise SystemExit("no login")

        def log(self, metrics, *, step):
            if broken == "log":
                raise ConnectionError("no route to host\nTraceback …")

        def finish(self):
            if broken == "finish":
                raise KeyError("gone")

    background = BackgroundTracker("broken", Broken)
    for step in range(3):
        background.log({"train/loss": 1.0}, step=step)
    background.finish()
    warnings = [record.message for record in messages.records]
    assert len(warnings) == 1
    assert "broken gets no numbers of this run from here on" in warnings[0]
    assert "Traceback" not in warnings[0]


def test_a_tracker_that_hangs_is_left_behind(messages):
    release = threading.Event()
    background = BackgroundTracker("slow", lambda: release.wait(60) and ListTracker())
    background.log({"train/loss": 1.0}, step=1)
    background.finish(timeout_s=0.05)
    release.set()
    assert "slow did not finish" in messages.text


def test_lines_are_named_for_trackers_and_text_is_left_out(tmp_path):
    tracker = ListTracker()
    background = BackgroundTracker("list", lambda: tracker)
    recorder = Recorder(tmp_path / "metrics.jsonl", LineDisplay(total_steps=2, exact=True), [background])
    training = {"step": 1, "epoch": 0.5, "loss": None, "learning_rate": 0.1, "tokens_per_s": None}
    recorder.record(training)
    recorder.record({"step": 2, "eval_loss": 2.0, "eval_accuracy": 0.5, "epoch": 1.0})
    background.finish()
    assert tracker.got == [
        (1, {"train/epoch": 0.5, "train/learning_rate": 0.1}),
        (2, {"eval/loss": 2.0, "eval/accuracy": 0.5, "eval/epoch": 1.0}),
    ]
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0]) == training


def test_names_are_those_of_report_to_and_use_swanlab():
    assert wanted_trackers(TrackingSettings(report_to="none")) == []
    assert wanted_trackers(TrackingSettings(report_to="tensorboard,wandb", use_swanlab=True)) == [
        "tensorboard",
        "wandb",
        "swanlab",
    ]
    with pytest.raises(UsageError, match="report_to: comet is not a tracker; choose from tensorboard"):
        wanted_trackers(TrackingSettings(report_to="comet"))


@pytest.mark.skipif(not extras.is_installed("tensorboard"), reason="tensorboard is not installed")
def test_tensorboard_reads_back_what_was_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tracker,) = open_trackers(tracked(tmp_path, report_to="tensorboard"))
    for step in (1, 2):
        tracker.log({"train/loss": 1.0 / step}, step=step)
    tracker.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]


@pytest.mark.skipif(not extras.is_installed("swanlab"), reason="swanlab is not installed")
def test_swanlab_offline_writes_into_the_run_folder(tmp_path, messages):
    (tracker,) = open_trackers(tracked(tmp_path, use_swanlab=True, swanlab_mode="offline"))
    tracker.log({"train/loss": 1.0}, step=1)
    tracker.finish()
    assert not messages.records
    assert list((tmp_path / "swanlab").rglob("*"))


def test_swanlab_cloud_without_a_key_says_what_to_set(tmp_path, messages, monkeypatch):
    monkeypatch.delenv("SWANLAB_API_KEY", raising=False)
    (tracker,) = open_trackers(tracked(tmp_path, use_swanlab=True))
    tracker.finish()
    expected = "set SWANLAB_API_KEY" if extras.is_installed("swanlab") else "pip install 'tunesmith[trackers]'"
    assert expected in messages.text


@pytest.mark.skipif(not extras.is_installed("trackio"), reason="trackio is not installed")
def test_trackio_keeps_the_run_in_its_folder(tmp_path, messages, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    (tracker,) = open_trackers(tracked(tmp_path, report_to="trackio"))
    tracker.log({"train/loss": 1.0}, step=1)
    tracker.finish()
    assert not messages.records


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_clients_without_a_server_work_offline_or_warn_once(name, tmp_path, messages, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tracker,) = open_trackers(tracked(tmp_path, report_to=name))
    tracker.log({"train/loss": 1.0}, step=1)
    tracker.finish()
    if extras.is_installed(name):
        assert not messages.records
        assert list(tmp_path.rglob("*"))
    else:
        assert len(messages.records) == 1
        assert "pip install 'tunesmith[trackers]'" in messages.text
