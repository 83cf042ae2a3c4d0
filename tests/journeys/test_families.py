"""The families transformers has no class for, by the commands alone: QLoRA on packs, samples, resume, merge, chat.

Training in full, LoRA and packing of every architecture are in tests/models, tests/train and tests/invariants.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import tunesmith as public
from tests.journeys.given import losses, read_json_lines, tunesmith
from tests.tiny import TEXT_KINDS, tiny_folder
from tests.train.runs import assert_same_run, write_rows

OWN = ("internlm2", "minicpm", "minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5", "minicpmo_2_6")

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("kind", OWN)]


def commands(model: Path, rows: Path, output: Path) -> list[str]:
    """QLoRA as XTuner's first recipe has it, in a small."""
    return [
        *(f"model_name_or_path={model}", f"dataset={rows}", f"output_dir={output}", "use_cpu=true"),
        *("quantization_bit=4", "quantization_type=nf4", "double_quantization=true"),
        *("lora_rank=8", "lora_alpha=16", "lora_dropout=0.1", "lora_target=q_proj,v_proj", "packing=true"),
        *("cutoff_len=1024", "per_device_train_batch_size=1", "gradient_accumulation_steps=2", "max_steps=6"),
        *("learning_rate=0.02", "warmup_ratio=0.03", "logging_steps=1", "save_steps=2", "sample_steps=6"),
        *("sample_prompts=Who are you?", "sample_max_new_tokens=4"),
    ]


def test_qlora_on_packs_resumes_merges_and_answers(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_folder(kind, tmp_path / "base")
    rows = write_rows(tmp_path, count=24, images=kind not in TEXT_KINDS)
    whole, resumed, merged = tmp_path / "whole", tmp_path / "resumed", tmp_path / "merged"

    tunesmith("train", *commands(base, rows, whole))
    assert losses(whole)[-1] < losses(whole)[0]
    assert read_json_lines(whole / "samples.jsonl")[-1]["step"] == 6

    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoints" / "step-6")
    tunesmith("train", *commands(base, rows, resumed), "resume_from_checkpoint=true")
    assert_same_run(whole, resumed)

    tunesmith("export", whole, f"export_dir={merged}", "export_device=cpu")
    published = json.loads((base / "config.json").read_text(encoding="utf-8"))
    assert json.loads((merged / "config.json").read_text(encoding="utf-8")) == published
    assert {path.name for path in merged.iterdir()} >= {path.name for path in base.iterdir()}

    capsys.readouterr()
    tunesmith("chat", merged, "--prompt", "Who are you?", "max_new_tokens=4", "do_sample=false", "use_cpu=true")
    assert capsys.readouterr().out.rstrip("\n")


def test_the_merged_folder_is_base_and_adapter(kind: str, tmp_path: Path) -> None:
    base = tiny_folder(kind, tmp_path / "base")
    rows = write_rows(tmp_path, count=4, images=kind not in TEXT_KINDS)
    run, merged = tmp_path / "run", tmp_path / "merged"
    settings = [
        setting for setting in commands(base, rows, run) if not setting.startswith(("quant", "double", "sample"))
    ]
    tunesmith("train", *settings)
    tunesmith("export", run, f"export_dir={merged}", "export_device=cpu")

    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = public.load(run, device="cpu")[0](input_ids=ids).logits
        before = public.load(base, device="cpu")[0](input_ids=ids).logits
        found = public.load(merged, device="cpu")[0](input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (expected - before).abs().max() > 1e-2
