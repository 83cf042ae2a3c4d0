"""Settings as users have them: LLaMA-Factory's files, their flags, and Python mappings."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tunesmith import log
from tunesmith.config.read import check_settings, load_settings, load_settings_from
from tunesmith.errors import UsageError

# Journey 1 as flags, word for word.
J1_FLAGS = """
--stage sft --do_train True --model_name_or_path Qwen/Qwen2.5-VL-3B-Instruct --preprocessing_num_workers 16
--finetuning_type lora --template qwen2_vl --flash_attn auto --dataset_dir data --dataset mllm_demo --cutoff_len 2048
--learning_rate 5e-05 --num_train_epochs 3.0 --max_samples 100000 --per_device_train_batch_size 2
--gradient_accumulation_steps 8 --lr_scheduler_type cosine --max_grad_norm 1.0 --logging_steps 5 --save_steps 100
--warmup_steps 0 --packing False --report_to none --output_dir saves/a --bf16 True --plot_loss True
--trust_remote_code True --ddp_timeout 180000000 --include_num_input_tokens_seen True --optim adamw_torch
--lora_rank 8 --lora_alpha 16 --lora_dropout 0 --lora_target all
""".split()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    log.forget_said()
    logging.getLogger("tunesmith").propagate = True
    caplog.set_level(logging.INFO, logger="tunesmith")
    return caplog


def test_a_file_goes_to_the_sections_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model_name_or_path: base\ndataset: a, b\nlearning_rate: 1e-4\neval_strategy: no\nlora_rank: 8\n")
    settings = load_settings(path, ["lora_rank=16", "--bf16"])
    assert settings.model.model_name_or_path == "base"
    assert settings.data.dataset == ("a", "b")
    assert (settings.training.learning_rate, settings.training.eval_strategy) == (1e-4, "no")
    assert (settings.tuning.lora_rank, settings.training.bf16) == (16, True)


def test_json_means_the_same(tmp_path: Path) -> None:
    flat = {"model_name_or_path": "base", "dataset": ["a"], "learning_rate": 1e-4, "bf16": True, "deepspeed": None}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(flat))
    assert load_settings(path) == load_settings_from(flat)


def test_flags_alone_are_enough() -> None:
    settings = load_settings(None, J1_FLAGS, verb="train")
    assert (settings.training.learning_rate, settings.training.warmup_steps) == (5e-5, 0)
    assert (settings.tuning.lora_alpha, settings.tuning.lora_dropout) == (16, 0)
    assert settings.tracking.report_to == ()


def test_a_python_call_overrides_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("learning_rate: 1e-4\ndataset: a\n")
    settings = load_settings_from(path, {"learning_rate": 2e-4, "dataset": ["b", "c"], "sample_prompts": "你是谁"})
    assert settings.training.learning_rate == 2e-4
    assert settings.data.dataset == ("b", "c")
    assert settings.training.sample_prompts == ("你是谁",)


def test_a_home_folder_is_found_in_yaml_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    settings = load_settings_from({"output_dir": "~/runs/a", "dataset": "rows.jsonl, ~/more.jsonl"})
    assert settings.training.output_dir == "/home/ada/runs/a"
    assert settings.data.dataset == ("rows.jsonl", "/home/ada/more.jsonl")


def test_questions_may_be_mappings() -> None:
    question = {"prompt": "What is this?", "image": "a.png"}
    assert load_settings_from({"sample_prompts": [question, "hi"]}).training.sample_prompts == (question, "hi")


@pytest.mark.parametrize(("given", "value"), [("true", True), (True, True), ("null", None), ("runs/a", "runs/a")])
def test_resume_takes_a_path_or_true(given: object, value: object) -> None:
    assert load_settings_from({"resume_from_checkpoint": given}).training.resume_from_checkpoint == value


def test_what_only_a_section_can_judge_is_refused_in_the_same_words() -> None:
    with pytest.raises(UsageError) as raised:
        load_settings(None, ["dataset={a: 1}", "lr_scheduler_kwargs=3"])
    assert str(raised.value).splitlines()[0] == (
        "command line: dataset is {'a': 1}; expected names, comma-separated or as a list"
    )
    with pytest.raises(UsageError, match="command line: lr_scheduler_kwargs is 3; expected a mapping"):
        load_settings(None, ["lr_scheduler_kwargs=3"])


def test_notes_are_said_once(said: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        load_settings_from({"past_index": 3})
    assert said.messages == ["note: past_index: it has no meaning for causal language models"]


def test_the_first_journeys_file_trains_with_zero3(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model_name_or_path: a\ndataset: b\noutput_dir: c\ndeepspeed: cache/ds_z3_config.json\n")
    settings = load_settings(path, verb="train")
    assert settings.parallel.deepspeed == {"zero_optimization": {"stage": 3}}
    assert load_settings(path, ["deepspeed=null"], verb="train").parallel.deepspeed is None


def test_a_secret_is_accepted_and_not_shown() -> None:
    settings = load_settings_from({"swanlab_api_key": "sk-private", "hub_token": "hf_private"})
    assert settings.tracking.swanlab_api_key is not None
    assert settings.tracking.swanlab_api_key.get_secret_value() == "sk-private"
    assert "private" not in repr(settings) + str(settings)


def test_a_model_folder_stands_for_its_model(tmp_path: Path) -> None:
    check_settings(tmp_path, verb="chat")
    with pytest.raises(UsageError, match="export_dir is missing") as raised:
        check_settings(tmp_path, verb="export")
    assert "model_name_or_path" not in str(raised.value)
    with pytest.raises(UsageError, match="model_name_or_path is missing"):
        check_settings(None, verb="chat")
