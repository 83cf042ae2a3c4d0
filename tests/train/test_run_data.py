"""Whole runs whose rows nobody has looked at before: bad rows met on the way, packs, streams, what the report says."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.runs import assert_same_run, metrics_without_times, run, run_settings, write_rows
from tunesmith.errors import DataError

NUM_LOOKED_AT = 4
BAD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]}


@pytest.fixture(autouse=True)
def few_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ten rows are more than are looked at before training."""
    monkeypatch.setattr("tunesmith.data.prepare.NUM_FIRST_ROWS", NUM_LOOKED_AT)


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What runs have said so far."""
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    return lambda: caplog.messages


@pytest.fixture
def settings(qwen2_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return run_settings(qwen2_folder, write_rows(tmp_path), tmp_path / "run", num_train_epochs=2)


def break_row(tmp_path: Path, row: int) -> None:
    rows = json.loads((tmp_path / "rows.json").read_text())
    rows[row] = BAD
    (tmp_path / "rows.json").write_text(json.dumps(rows))


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "data_report.json").read_text())
    return report


def test_a_bad_row_on_the_way_saves_and_names_the_row(settings: dict[str, Any], tmp_path: Path) -> None:
    break_row(tmp_path, 9)
    in_order = {**settings, "disable_shuffling": True, "save_steps": 100}
    with pytest.raises(DataError, match=r"rows.json, row 9") as raised:
        run(in_order)
    message = str(raised.value)
    assert "Stopped after step 2; saved in" in message and "on_bad_row: skip goes on without the row" in message
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-2"]

    resumed = run(in_order, on_bad_row="skip", resume_from_checkpoint=True)
    run(in_order, on_bad_row="skip", output_dir=str(tmp_path / "whole"))
    assert resumed.steps == 6
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_skipped_rows_are_counted_once_whatever_the_epochs(settings: dict[str, Any], tmp_path: Path) -> None:
    break_row(tmp_path, 3)
    break_row(tmp_path, 7)
    run(settings, on_bad_row="skip", num_train_epochs=3)
    report = report_of(tmp_path / "run")
    assert report["complete"]
    assert (report["rows"]["read"], report["rows"]["train"], report["rows"]["skipped"]) == (10, 8, 2)
    (kind,) = report["skipped"]
    assert sorted(example["row"] for example in report["skipped"][kind]["examples"]) == [3, 7]
    assert report["train"]["padding_tokens"] == 0


def test_the_report_holds_what_was_looked_at(settings: dict[str, Any], tmp_path: Path) -> None:
    run(settings, max_steps=1, disable_shuffling=True, gradient_accumulation_steps=3)
    report = report_of(tmp_path / "run")
    assert (report["complete"], report["rows"]["read"], report["rows"]["of"]) == (False, 6, 10)


def test_the_first_evaluation_puts_the_held_out_rows_into_the_report(settings: dict[str, Any], tmp_path: Path) -> None:
    run(settings, val_size=6, eval_steps=1)
    rows = report_of(tmp_path / "run")["rows"]
    assert (rows["train"], rows["eval"], rows["read"]) == (4, 6, 10)


@pytest.mark.parametrize("packing", ["packing", "neat_packing"])
def test_packs_train_every_row_in_fewer_steps(
    packing: str, settings: dict[str, Any], tmp_path: Path, messages: Callable[[], list[str]]
) -> None:
    shape = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    packed = run(settings, **shape, **{packing: True}, cutoff_len=120, logging_steps=1)
    assert 4 <= packed.steps < 20
    assert report_of(tmp_path / "run")["rows"]["train"] == 10
    lines = metrics_without_times(tmp_path / "run")
    assert lines[-1]["epoch"] == 2
    assert lines[-1]["padding_share"] == 0
    assert lines[-1]["learning_rate"] < 1e-3
    assert any("steps    about " in message and "packs of 120 tokens" in message for message in messages())


def test_packs_of_rows_that_were_all_looked_at_are_counted_exactly(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, messages: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr("tunesmith.data.prepare.NUM_FIRST_ROWS", 1000)
    result = run(settings, packing=True, cutoff_len=120, num_train_epochs=3)
    (header,) = [message for message in messages() if "steps    " in message]
    assert f"steps    {result.steps} (" in header


def test_batches_without_padding_learn_what_single_rows_learn(settings: dict[str, Any], tmp_path: Path) -> None:
    plain = {**settings, "lora_dropout": 0.0, "val_size": 2, "logging_steps": 1, "per_device_eval_batch_size": 1}
    run(plain, per_device_train_batch_size=1, gradient_accumulation_steps=4, output_dir=str(tmp_path / "single"))
    run({**plain, "per_device_eval_batch_size": 8}, per_device_train_batch_size=4, gradient_accumulation_steps=1)
    single, together = (metrics_without_times(tmp_path / name) for name in ("single", "run"))
    assert sum(line.get("padding_share", 0) for line in together) == 0
    for key in ("loss", "eval_loss", "grad_norm"):
        expected = [line[key] for line in single if key in line]
        assert [line[key] for line in together if key in line] == pytest.approx(expected, rel=2e-4)


def test_a_model_that_cannot_keep_samples_apart_is_padded_and_says_so(
    tmp_path: Path, settings: dict[str, Any], messages: Callable[[], list[str]]
) -> None:
    from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

    model = tmp_path / "mamba"
    tokenizer = AutoTokenizer.from_pretrained(settings["model_name_or_path"])
    tokenizer.save_pretrained(model)
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 1, "vocab_size": 544, "eos_token_id": 0}
    MambaForCausalLM(MambaConfig(**sizes)).save_pretrained(model)
    recurrent = {**settings, "model_name_or_path": str(model), "finetuning_type": "full", "lora_dropout": 0.0}
    assert run(recurrent, packing=True, max_steps=2).steps == 2
    (said,) = [message for message in messages() if "does not keep the samples of one sequence apart" in message]
    assert "MambaForCausalLM" in said and "packing: true is left out" in said
    assert metrics_without_times(tmp_path / "run")[-1]["padding_share"] > 0


def test_a_stream_trains_to_its_number_of_steps(settings: dict[str, Any], tmp_path: Path) -> None:
    assert run(settings, streaming=True, max_steps=7).steps == 7
    lines = metrics_without_times(tmp_path / "run")
    assert [line["epoch"] for line in lines] == [0, 0, 1, 2, 2]
    assert report_of(tmp_path / "run")["rows"] == {**report_of(tmp_path / "run")["rows"], "of": None, "train": 10}


def test_waiting_for_data_is_measured(settings: dict[str, Any], tmp_path: Path) -> None:
    run(settings, max_steps=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["data_wait_s"] >= 0 for line in lines)
