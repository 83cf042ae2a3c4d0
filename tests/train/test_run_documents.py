"""Whole runs of stage pt: every kind of file, base models without a chat template, and whether it learns."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

from tests.tiny import tiny_folder
from tests.train.runs import metrics_without_times, run, run_settings, write_documents
from tunesmith.errors import DataError

TEXTS = [f"Chapter {index}. " + "And so on, and so on. " * (5 * index) for index in range(8)]


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What runs have said so far."""
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    return lambda: caplog.messages


@pytest.fixture
def settings(qwen2_folder: Path, tmp_path: Path) -> dict[str, Any]:
    documents = write_documents(tmp_path)
    changes = {"stage": "pt", "cutoff_len": 64, "num_train_epochs": 1, "gradient_accumulation_steps": 1}
    return run_settings(qwen2_folder, documents, tmp_path / "run", **changes)


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "data_report.json").read_text())
    return report


def write_text(path: Path) -> Path:
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


def write_lines(path: Path) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"text": TEXTS}), path)
    return path


@pytest.mark.parametrize(
    ("name", "write"), [("a.txt", write_text), ("a.jsonl", write_lines), ("a.parquet", write_parquet)]
)
def test_every_kind_of_file_is_learned_whole(
    name: str, write: Callable[[Path], Path], settings: dict[str, Any], tmp_path: Path
) -> None:
    run({**settings, "dataset": str(write(tmp_path / name))})
    report = report_of(tmp_path / "run")
    assert (report["rows"]["train"], report["rows"]["cut"], report["rows"]["skipped"]) == (8, 0, 0)
    lines = metrics_without_times(tmp_path / "run")
    assert lines[-1]["supervised_tokens"] == report["train"]["supervised_tokens"]
    assert lines[-1]["padding_share"] == 0 and lines[-1]["epoch"] == 1


@pytest.mark.parametrize(
    "words",
    [
        {"packing": False},
        {"neat_packing": True},
        {"batch_tokens": 200},
        {"group_by_length": True},
        {"val_size": 3, "per_device_eval_batch_size": 2},
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "dataloader_num_workers": 1},
    ],
    ids=str,
)
def test_however_batches_are_made_everything_is_learned_once(
    words: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    run({**settings, "logging_steps": 1, **words})
    lines = metrics_without_times(tmp_path / "run")
    learned = [line["supervised_tokens"] for line in lines if "loss" in line]
    assert learned[-1] == report_of(tmp_path / "run")["train"]["supervised_tokens"] > 500
    assert report_of(tmp_path / "run")["train"]["padding_tokens"] == 0


def test_a_stream_of_documents_goes_on_for_ever(settings: dict[str, Any], tmp_path: Path) -> None:
    assert run(settings, streaming=True, max_steps=12, val_size=2, eval_strategy="steps", eval_steps=6).steps == 12
    rows = report_of(tmp_path / "run")["rows"]
    assert (rows["of"], rows["train"], rows["eval"]) == (None, 8, 2)


def test_documents_are_padded_where_the_model_cannot_keep_them_apart(
    tmp_path: Path, settings: dict[str, Any], messages: Callable[[], list[str]]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(settings["model_name_or_path"])
    tokenizer.save_pretrained(tmp_path / "mamba")
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 1, "vocab_size": 544, "eos_token_id": 0}
    MambaForCausalLM(MambaConfig(**sizes)).save_pretrained(tmp_path / "mamba")
    recurrent = {"model_name_or_path": str(tmp_path / "mamba"), "finetuning_type": "full", "lora_dropout": 0.0}
    run({**settings, **recurrent})
    assert any("MambaForCausalLM does not keep the samples of one sequence apart" in said for said in messages())
    lines = metrics_without_times(tmp_path / "run")
    assert lines[-1]["supervised_tokens"] == report_of(tmp_path / "run")["train"]["supervised_tokens"]


def test_documents_are_packed_and_said_to_be(settings: dict[str, Any], messages: Callable[[], list[str]]) -> None:
    result = run(settings)
    (header,) = [message for message in messages() if "steps    " in message]
    assert f"steps    {result.steps} (" in header and "packs of 64 tokens" in header


@pytest.mark.parametrize("tuning", ["full", "freeze", "lora"])
def test_a_base_model_without_a_chat_template(tuning: str, settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_folder("gpt2", tmp_path / "gpt2")
    changes = {"freeze_trainable_layers": 1} if tuning == "freeze" else {}
    options = {"model_name_or_path": str(folder), "finetuning_type": tuning, "lora_dropout": 0.0}
    result = run({**settings, **options, **changes}, val_size=2, eval_strategy="epoch")
    assert result.steps > 2
    (evaluation,) = [line for line in metrics_without_times(tmp_path / "run") if "eval_loss" in line]
    assert evaluation["eval_perplexity"] > 1


def test_pictures_in_documents(qwen2_5_vl_folder: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    rows = []
    for index in range(6):
        Image.new("RGB", (56, 56), (40 * index, 90, 200)).save(tmp_path / f"{index}.png")
        text = f"Picture {index}: <image> It is small. " * 2 + "And a long text follows. " * 6 * index
        rows.append({"text": text, "images": [str(tmp_path / f"{index}.png")] * 2})
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    run({**settings, "dataset": str(tmp_path / "rows.json"), "model_name_or_path": str(qwen2_5_vl_folder)})
    train = report_of(tmp_path / "run")["train"]
    assert (train["rows"], train["images"]) == (6, 12)
    lines = metrics_without_times(tmp_path / "run")
    assert lines[-1]["supervised_tokens"] == train["supervised_tokens"] < train["tokens"] - train["media_tokens"]


def test_an_empty_document_stops_before_training_or_is_counted(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"text": text} for text in [*TEXTS, " "]]
    (tmp_path / "documents.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"documents.json, row 8: .*empty"):
        run(settings)
    run(settings, on_bad_row="skip")
    assert report_of(tmp_path / "run")["rows"]["skipped"] == 1


def sentences(seed: int, count: int) -> str:
    """A language of few words, in which much of the next one is known."""
    drawn = random.Random(seed)
    names, verbs = ["The king", "A queen", "The old fox"], ["sees", "hears", "follows"]
    ends = ["in the forest", "by the river", "before the gate"]
    made = (
        f"{drawn.choice(names)} {drawn.choice(verbs)} {drawn.choice(names).lower()} {drawn.choice(ends)}. "
        for _ in range(count)
    )
    return "".join(made)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_perplexity_of_texts_never_seen_falls(kind: str, tmp_path: Path) -> None:
    rows = [{"text": sentences(seed, 4 + seed % 9)} for seed in range(120)]
    (tmp_path / "language.json").write_text(json.dumps(rows), encoding="utf-8")
    settings = run_settings(
        tiny_folder(kind, tmp_path / kind),
        tmp_path / "language.json",
        tmp_path / "run",
        stage="pt",
        finetuning_type="full",
        cutoff_len=128,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=1,
        num_train_epochs=4,
        val_size=20,
        eval_strategy="epoch",
        eval_on_start=True,
    )
    run(settings)
    found = [line["eval_perplexity"] for line in metrics_without_times(tmp_path / "run") if "eval_loss" in line]
    assert found[0] > 100
    assert found[-1] < 4
    assert found == sorted(found, reverse=True)
