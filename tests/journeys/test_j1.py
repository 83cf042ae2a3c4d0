"""J1: a LLaMA-Factory user's Qwen2.5-VL file on LLaMA-Factory's own pictures, from the first look to the merged model.

`j1.yaml` is the user's file; only paths and the amount of work are given on the command line.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import tunesmith as public
from tests.journeys.given import (
    DEMO_DATA,
    losses,
    needs_demo_data,
    needs_qwen_tokenizer,
    read_json_lines,
    tunesmith,
    write_small_qwen,
)

pytestmark = [needs_demo_data, needs_qwen_tokenizer, pytest.mark.slow]

RECIPE = Path(__file__).with_name("j1.yaml")
METRICS = {"step", "epoch", "loss", "learning_rate", "grad_norm", "supervised_tokens", "tokens_per_s", "step_s"}
IMAGE = DEMO_DATA / "mllm_demo_data" / "1.jpg"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_qwen(tmp_path_factory.mktemp("j1") / "Qwen2.5-VL-small")


def given_paths(model: Path, output: Path) -> list[str]:
    """What differs on the machine of a test: where things are, and one loader process."""
    return [
        f"model_name_or_path={model}",
        f"dataset_dir={DEMO_DATA}",
        f"output_dir={output}",
        "dataloader_num_workers=0",
        "use_cpu=true",
    ]


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML's training, with more and larger steps than three, so that so small a model moves."""
    output = tmp_path_factory.mktemp("j1") / "run"
    work = ["num_train_epochs=12", "learning_rate=0.02", "gradient_accumulation_steps=2", "save_steps=18"]
    tunesmith("train", RECIPE, *given_paths(model, output), *work, "logging_steps=3")
    return output


def test_a_dry_run_prints_the_settings_and_writes_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tunesmith("train", RECIPE, "--dry-run", *given_paths(model, tmp_path / "run"), "--lora_rank", "4")
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["lora_rank"] == 4
    assert settings["dataset"] in ("mllm_demo", ["mllm_demo"])
    assert not (tmp_path / "run").exists()


def test_the_preview_shows_what_is_in_the_loss(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tunesmith("data", "preview", RECIPE, "--format", "jsonl", "--limit", "2", *given_paths(model, tmp_path))
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["supervised"] == [
        "They're Kane and Gretzka from Bayern Munich.<|im_end|>",
        "They are celebrating on the soccer field.<|im_end|>",
    ]
    assert (first["num_media_tokens"], second["num_media_tokens"]) == (2 * 66, 77)
    assert first["input_ids"].count(151655) == first["num_media_tokens"]
    assert not first["truncated"]


def test_the_run_folder_tells_everything(run: Path) -> None:
    for name in ("run.yaml", "manifest.json", "metrics.jsonl", "data_report.json", "training_loss.png"):
        assert (run / name).is_file(), name
    assert (run / "adapter_model.safetensors").is_file()
    assert (run / "adapter_config.json").is_file()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-18", "step-36"]
    lines = [line for line in read_json_lines(run / "metrics.jsonl") if "loss" in line]
    assert all(line.keys() >= METRICS for line in lines)
    assert lines[-1]["step"] == 36


def test_the_loss_falls(run: Path) -> None:
    found = losses(run)
    assert found[0] > 11.9  # ln(151936): a random model knows nothing
    assert found[-1] < found[0] - 2


def test_the_adapter_leaves_the_tower_alone(run: Path) -> None:
    model, _ = public.load(run, dtype="float32", device="cpu")
    trained = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert trained
    assert not [name for name in trained if "visual" in name or "lm_head" in name]


def test_the_same_run_as_flags(model: Path, tmp_path: Path) -> None:
    flags = (
        "--stage sft --do_train True --finetuning_type lora --template qwen2_vl --dataset mllm_demo --cutoff_len 2048 "
        "--learning_rate 5e-05 --max_samples 4 --per_device_train_batch_size 2 --gradient_accumulation_steps 1 "
        "--lr_scheduler_type cosine --max_grad_norm 1.0 --logging_steps 1 --save_steps 100 --warmup_steps 0 "
        "--packing False --flash_attn auto --report_to none --bf16 True --plot_loss True --trust_remote_code True "
        "--include_num_input_tokens_seen True --optim adamw_torch --lora_rank 8 --lora_alpha 16 --lora_dropout 0 "
        "--lora_target all --freeze_vision_tower True --num_train_epochs 1 --ddp_timeout 180000000 --use_cpu True"
    ).split()
    output = tmp_path / "run"
    paths = ["--model_name_or_path", model, "--dataset_dir", DEMO_DATA, "--output_dir", output]
    tunesmith("train", *flags, *paths)
    assert len(losses(output)) == 2


def test_a_run_resumed_from_its_first_checkpoint_ends_the_same(model: Path, run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    work = ["num_train_epochs=12", "learning_rate=0.02", "gradient_accumulation_steps=2", "save_steps=18"]
    resume = f"resume_from_checkpoint={run / 'checkpoints' / 'step-18'}"
    tunesmith("train", RECIPE, *given_paths(model, tmp_path / "again"), *work, "logging_steps=3", resume)
    whole = load_file(run / "adapter_model.safetensors")
    resumed = load_file(tmp_path / "again" / "adapter_model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


def test_it_answers_about_an_image(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = ["--prompt", "Who are they?", "--image", IMAGE]
    tunesmith("chat", run, *question, "do_sample=false", "max_new_tokens=8", "use_cpu=true")
    assert capsys.readouterr().out.strip()


def test_the_merged_model_is_base_and_adapter(model: Path, run: Path, tmp_path: Path) -> None:
    tunesmith("export", run, f"export_dir={tmp_path / 'merged'}", "infer_dtype=float32")
    merged, processor = public.load(tmp_path / "merged", dtype="float32", device="cpu")
    adapted, _ = public.load(run, dtype="float32", device="cpu")
    ids = processor.tokenizer("Who are they?", return_tensors="pt").input_ids
    with torch.inference_mode():
        torch.testing.assert_close(merged(input_ids=ids).logits, adapted(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    kept = {path.name for path in model.iterdir() if path.suffix != ".safetensors"}
    assert {path.name for path in (tmp_path / "merged").iterdir()} >= kept
