"""Every recipe, run for two steps by the command line on tiny models of its architectures, in a folder laid out as the
recipe expects it. Only the model, sizes and the device are set from outside.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recipes.rows import write_data
from tests.tiny import KINDS, tiny_folder
from tunesmith.cli.main import main
from tunesmith.recipes.recipe import load_recipes

MODELS = {
    "gemma3_text_lora": ["gemma3_text"],
    "gemma3_vision_lora": ["gemma3"],
    "internlm2_1_8b_qlora_alpaca": ["internlm2"],
    "internlm2_1_8b_qlora_identity": ["internlm2"],
    "internlm2_5_lora": ["internlm2"],
    "internlm3_lora": ["internlm3"],
    "internvl_lora": ["internvl"],
    "llama3_lora": ["llama"],
    "llava_finetune": ["llava"],
    "llava_onevision_lora": ["llava_onevision"],
    "llava_pretrain": ["llava"],
    "minicpm_lora": ["minicpm"],
    "minicpmo_lora": ["minicpmo_2_6"],
    "minicpmv4_6_full": ["minicpmv4_6", "minicpmv4_7"],
    "minicpmv_full": ["minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5"],
    "minicpmv_lora": ["minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5"],
    "minicpmv_own_format": ["minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5"],
    "minicpmv_video": ["minicpmv_4_5"],
    "mistral_qlora": ["mistral"],
    "phi4_lora": ["phi3"],
    "qwen2_5_omni_lora": ["qwen2_5_omni"],
    "qwen2_5_vl_dpo": ["qwen2_5_vl", "qwen2_vl"],
    "qwen2_5_vl_full": ["qwen2_5_vl"],
    "qwen2_5_vl_lora": ["qwen2_5_vl", "qwen2_vl"],
    "qwen2_audio_lora": ["qwen2_audio"],
    "qwen3_lora": ["qwen3"],
    "qwen3_vl_lora": ["qwen3_vl"],
    "qwen_full_identity": ["qwen2"],
    "text_dpo": ["qwen3", "gemma3_text"],
    "text_full": ["qwen3"],
    "text_grpo": ["qwen3"],
    "text_kto": ["qwen3"],
    "text_lora": ["qwen3"],
    "text_orpo": ["qwen3"],
    "text_pretrain": ["qwen3"],
    "text_qlora": ["qwen3"],
    "text_reward": ["qwen3", "qwen2_5_vl"],
    "text_simpo": ["qwen3"],
}
SMALL = {
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
    "logging_steps": 1,
}
ON_THE_CPU = {"use_cpu": True, "bf16": False, "pure_bf16": False, "optim": "adamw_torch"}
SMALLER = {
    "internlm2_1_8b_qlora_alpaca": {"dataset": "alpaca.json", "dataset_dir": "data", "sample_max_new_tokens": 2},
    "internlm2_1_8b_qlora_identity": {"sample_max_new_tokens": 2},
    "text_grpo": {"num_generations": 2, "max_completion_length": 4},
    "qwen_full_identity": {"sample_max_new_tokens": 2},
    "minicpmv_video": {"video_fps": 5, "video_maxlen": 5},
}
"""A dataset on this machine in place of one on the hub, short answers, few frames."""
NEW_IN_TRANSFORMERS = {"internlm3", "minicpmv4_7"}
RUNS = [(name, kind) for name, kinds in MODELS.items() for kind in kinds]


def _metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_recipe_that_trains_is_run_here() -> None:
    assert {name for name, recipe in load_recipes().items() if recipe.verb == "train"} == set(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), RUNS, ids=[f"{name}-{kind}" for name, kind in RUNS])
def test_a_recipe_trains(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind in NEW_IN_TRANSFORMERS and kind not in KINDS:
        pytest.skip(f"this transformers has no {kind}")
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    model = tiny_folder(kind, tmp_path / "model")
    changes = {**SMALL, **ON_THE_CPU, **SMALLER.get(name, {}), "model_name_or_path": model, "output_dir": "run"}
    assert main(["recipes", "copy", name, "run.yaml"]) == 0
    assert main(["train", "run.yaml", *(f"{key}={value}" for key, value in changes.items())]) == 0
    losses = [line["loss"] for line in _metrics(tmp_path / "run") if "loss" in line]
    assert len(losses) == 2
    earns_nothing = name == "text_grpo"  # answers of random weights are never right
    assert all(loss == 0 if earns_nothing else 0 < loss < 10 for loss in losses)


@pytest.mark.slow
def test_the_merge_recipe_merges_what_a_recipe_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    model = tiny_folder("qwen2_5_vl", tmp_path / "model")
    small = [f"{key}={value}" for key, value in {**SMALL, **ON_THE_CPU, "model_name_or_path": model}.items()]
    assert main(["recipes", "copy", "qwen2_5_vl_lora"]) == 0
    assert main(["train", "qwen2_5_vl_lora.yaml", *small]) == 0
    assert main(["recipes", "copy", "merge"]) == 0
    assert main(["export", "merge.yaml", f"model_name_or_path={model}"]) == 0
    merged = {path.name for path in (tmp_path / "merged" / "qwen2_5_vl").iterdir()}
    assert merged >= {path.name for path in model.iterdir()}
