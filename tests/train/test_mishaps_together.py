"""Two processes of which one is in trouble: both do the same about it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.injected import no_memory_above, not_a_number
from tests.train.runs import final_weights, metrics_without_times, run, run_settings
from tests.train.test_on_nan import mark_of, write_marked_rows
from tests.train.together import free_ports, in_processes, meet_at
from tunesmith import env
from tunesmith.errors import TunesmithError

RUNS = ("whole", "split", "alone", "skipped", "repeated", "again")


def settings_of(model: Path, folder: Path, name: str) -> dict[str, Any]:
    """Two micro-batches of two rows a step, one in each process; row 6 is the second step's, in process 1."""
    return run_settings(
        model,
        folder / "rows.json",
        folder / name,
        disable_shuffling=True,
        gradient_accumulation_steps=1,
        num_train_epochs=1,
        logging_steps=1,
        lora_dropout=0.0 if name in {"whole", "split"} else 0.1,
        optim="sgd" if name in {"whole", "split"} else "adamw_torch",
        on_nan="skip" if name == "skipped" else "stop",
        full_determinism=name in {"repeated", "again"},
    )


def live(model: Path, folder: Path, ports: list[int]) -> dict[str, str]:
    """All runs, one after the other, in one process; what each said, or the error it ended with."""
    is_second = env.rank() == 1
    said: dict[str, str] = {}
    for name, port in zip(RUNS, ports, strict=True):
        meet_at(port)
        records = _listen()
        most = {"split": 80, "alone": 10}.get(name, 10**9) if is_second else 10**9
        token = mark_of(model) if name == "skipped" and is_second else -1
        try:
            with no_memory_above(most), not_a_number(token):
                run(settings_of(model, folder, name))
        except TunesmithError as error:
            records.append(f"{type(error).__name__}: {error}")
        said[name] = "\n".join(records)
    return said


def _listen() -> list[str]:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("tunesmith").handlers = [handler]
    logging.getLogger("tunesmith").setLevel(logging.INFO)
    return records


@pytest.fixture(scope="module")
def runs(qwen2_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    write_marked_rows(folder, at=6)
    return folder, in_processes(live, qwen2_folder, folder, free_ports(len(RUNS)))


@pytest.mark.slow
def test_one_that_splits_changes_nothing(runs):
    folder, said = runs
    expected, found = final_weights(folder / "whole"), final_weights(folder / "split")
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6, msg=name)
    losses = [[line["loss"] for line in metrics_without_times(folder / name)] for name in ("whole", "split")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert "step 1: out of memory in process 1 (CUDA out of memory" in said[0]["split"]
    assert len(json.loads((folder / "split" / "fits.json").read_text())["training"]) == 1


@pytest.mark.slow
def test_both_stop_for_the_row_of_one(runs):
    _, said = runs
    for told in (said[0]["alone"], said[1]["alone"]):
        assert "RunError: step 1: out of memory" in told
        assert "rows.json, row 2" in told.splitlines()[-1]  # micro-batch 1 of the step begins with it


@pytest.mark.slow
def test_both_skip_the_step_of_one(runs):
    folder, said = runs
    assert "step 2 is skipped: the loss is nan on these rows: " in said[0]["skipped"]
    assert "row 6 (process 1), kept in" in said[0]["skipped"]
    assert [path.name for path in (folder / "skipped" / "bad_batches").iterdir()] == ["step-2-rank-1"]
    assert [line.get("skipped_steps") for line in metrics_without_times(folder / "skipped")] == [None, 1, 1]


@pytest.mark.slow
def test_full_determinism_repeats_bit_for_bit(runs):
    folder, _ = runs
    expected, found = final_weights(folder / "repeated"), final_weights(folder / "again")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert metrics_without_times(folder / "again") == metrics_without_times(folder / "repeated")
    determinism = json.loads((folder / "again" / "manifest.json").read_text())["determinism"]
    assert determinism == {
        "full_determinism": True,
        "threads": 1,
        "bit_equal_with_the_same": ["versions", "kind of device", "number of processes", "threads"],
        "not_bit_equal": [],
    }
