"""Whole runs of stage grpo on tiny models: what they leave, that they go on exactly, and that they learn."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from PIL import Image

from tests.train.runs import assert_same_run, final_weights, metrics_without_times, run, run_settings, write_rows
from tunesmith.chat.message import Conversation, Message, Text
from tunesmith.config.read import load_settings
from tunesmith.errors import DataError, MissingExtraError, NotSupportedYetError, RunError, UsageError
from tunesmith.infer.reward import RewardModel
from tunesmith.models.folder import load_folder

OWN_REWARDS = """
def low(completion_ids, **columns):
    return [sum(token < 150 for token in ids) / len(ids) for ids in completion_ids]

calls = 0

def fails_third_time(completions, **columns):
    global calls
    calls += 1
    if calls == 3:
        raise KeyError("surprise")
    return [float(len(text)) for text in completions]
"""


@pytest.fixture
def own_rewards(tmp_path):
    place = tmp_path / "rewards.py"
    place.write_text(OWN_REWARDS)
    return place


@pytest.fixture
def settings(qwen2_folder, tmp_path):
    return {
        **run_settings(qwen2_folder, write_rows(tmp_path, count=6), tmp_path / "run"),
        "stage": "grpo",
        "reward_funcs": ["exact_match", {"regex": "[a-e]"}],
        "reward_weights": [1, 0.5],
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_generations": 4,
        "max_completion_length": 6,
        "num_train_epochs": 2,
    }


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_run_leaves_everything_in_its_folder(settings, tmp_path) -> None:
    result = run(settings, sample_prompts=["How much?"], sample_max_new_tokens=3, report_to="tensorboard")
    folder = tmp_path / "run"
    assert (result.run_folder, result.steps) == (folder, 6)  # 6 prompts twice, 2 at a time
    assert {path.name for path in folder.iterdir()} == {
        *("run.yaml", "manifest.json", "metrics.jsonl", "data_report.json", "samples.jsonl", "checkpoints"),
        *("training_loss.png", "tensorboard", "README.md", "adapter_model.safetensors", "adapter_config.json"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "status.json"),
    }
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-2", "step-4", "step-6"]
    assert load_settings(folder / "run.yaml").grpo.reward_funcs == ("exact_match", "regex: [a-e]")
    assert json.loads((folder / "manifest.json").read_text())["versions"]["trl"]
    assert json.loads((folder / "data_report.json").read_text())["train"]["rows"] == 6
    assert Image.open(folder / "training_loss.png").size == (960, 540)
    load_folder(folder, device="cpu")


def test_the_metrics_are_rewards_and_lengths(settings, tmp_path) -> None:
    run(settings, max_steps=2, logging_steps=1)
    first, last = lines_of(tmp_path / "run" / "metrics.jsonl")
    assert {"step", "epoch", "loss", "learning_rate", "grad_norm", "supervised_tokens", "tokens_per_s"} <= first.keys()
    assert {"step_s", "peak_memory_bytes", "completion_length", "rewards/exact_match", "rewards/regex"} <= first.keys()
    assert first["reward"] == pytest.approx(first["rewards/exact_match"] + 0.5 * first["rewards/regex"])
    assert (first["epoch"], last["epoch"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert last["supervised_tokens"] == pytest.approx(8 * (first["completion_length"] + last["completion_length"]))


def test_samples_show_answers_with_their_rewards(settings, tmp_path) -> None:
    run(settings, max_steps=1)
    samples = lines_of(tmp_path / "run" / "samples.jsonl")
    assert len(samples) == 4
    assert len({sample["prompt"] for sample in samples}) == 1  # the answers to one prompt are compared
    for sample in samples:
        assert sample["reference"].startswith("That makes")
        assert sample["rewards"]["regex"] == float(any(letter in sample["answer"] for letter in "abcde"))
        assert sample["reward"] == sample["rewards"]["exact_match"] + 0.5 * sample["rewards"]["regex"]


@pytest.mark.parametrize(
    "changes",
    [
        {"grpo_beta": 0.1},
        {"finetuning_type": "full", "grpo_beta": 0.1, "learning_rate": 1e-3},
        {"grpo_num_iterations": 2, "steps_per_generation": 4},
    ],
    ids=["lora", "full", "several passes"],
)
@pytest.mark.slow
def test_a_resumed_run_is_the_run_never_stopped(settings, tmp_path, changes) -> None:
    settings = {**settings, "max_steps": 8, "save_steps": 3, "logging_steps": 1, **changes}
    run(settings, output_dir=str(tmp_path / "whole"))
    run(settings)
    folder = tmp_path / "run"
    steps = sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").iterdir())
    for later in steps[1:]:
        (folder / "checkpoints" / f"step-{later}").rename(tmp_path / f"gone-{later}")
    run(settings, resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", folder)


def test_saves_come_where_the_answers_in_hand_are_used_up(settings, tmp_path) -> None:
    run(settings, max_steps=7, save_steps=3, grpo_num_iterations=2)
    steps = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert steps == {"step-4", "step-6", "step-7"}


def test_the_model_is_compared_with_itself_as_it_began(settings, tmp_path) -> None:
    run(settings, grpo_beta=0.1, max_steps=3, logging_steps=1)
    distances = [line["kl"] for line in metrics_without_times(tmp_path / "run")]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances[2] > distances[0]
    assert all("ref" not in name.split(".") for name in final_weights(tmp_path / "run"))


def test_an_adapter_learns_on_from_where_it_was(settings, tmp_path) -> None:
    run(settings, max_steps=1)
    before = final_weights(tmp_path / "run")
    earlier = str(tmp_path / "run")
    run(settings, max_steps=1, adapter_name_or_path=earlier, output_dir=str(tmp_path / "on"), learning_rate=0)
    after = final_weights(tmp_path / "on")
    assert all((after[name] == weight).all() for name, weight in before.items())


def test_a_model_that_stage_rm_trained_rewards(settings, tmp_path) -> None:
    pairs = [{"messages": [{"role": "user", "content": "Well?"}], "chosen": "Yes.", "rejected": "No."}] * 4
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    judging = {key: value for key, value in settings.items() if not key.startswith("reward_")}
    judge = tmp_path / "judge"
    run(judging, stage="rm", dataset=str(tmp_path / "pairs.json"), max_steps=2, output_dir=str(judge))
    run(settings, reward_model=str(judge), reward_weights=[1, 1, 2], max_steps=1)
    model = RewardModel.load(judge, use_cpu=True)
    for sample in lines_of(tmp_path / "run" / "samples.jsonl"):
        question = sample["prompt"].split("user\n")[1].partition("<|im_end|>")[0]
        messages = (Message("user", (Text(question),)), Message("assistant", (Text(sample["answer"]),)))
        assert sample["rewards"]["reward_model"] == pytest.approx(model.scores([Conversation(messages)])[0], abs=1e-6)


@pytest.mark.slow
def test_it_learns_what_is_rewarded(settings, own_rewards, tmp_path) -> None:
    run(
        settings,
        reward_funcs=f"{own_rewards}:low",
        reward_weights=None,
        finetuning_type="full",
        per_device_train_batch_size=32,
        gradient_accumulation_steps=1,
        num_generations=16,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
        max_steps=25,
        logging_steps=1,
        save_steps=100,
    )
    rewards = [line["reward"] for line in metrics_without_times(tmp_path / "run")]
    assert sum(rewards[:3]) / 3 < 0.4  # 150 of some 500 tokens
    assert sum(rewards[-3:]) / 3 > 0.9


def test_a_reward_that_fails_later_saves_what_was_trained(settings, own_rewards, tmp_path) -> None:
    settings |= {"reward_funcs": f"{own_rewards}:fails_third_time", "reward_weights": None, "save_steps": 100}
    with pytest.raises(UsageError, match="KeyError: 'surprise'") as raised:
        run(settings)
    assert "Stopped after step 2; saved in" in str(raised.value)
    assert (tmp_path / "run" / "checkpoints" / "step-2" / "trainer" / "optimizer.pt").is_file()
    assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.startswith(".")]


def test_ctrl_c_saves_and_says_so(settings, own_rewards, tmp_path) -> None:
    own_rewards.write_text(
        "import signal\n\ndef stop(completions, **columns):\n    signal.raise_signal(signal.SIGINT)\n"
        "    return [0.0 for _ in completions]\n"
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(settings, reward_funcs=f"{own_rewards}:stop", reward_weights=None, grpo_num_iterations=2)
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-2"]
    assert not (tmp_path / "run" / "adapter_model.safetensors").exists()


def test_prompts_that_do_not_fit_are_dropped_and_counted(settings, tmp_path) -> None:
    rows = json.loads((tmp_path / "rows.json").read_text())
    rows[2]["messages"][0]["content"] *= 20
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert run(settings, cutoff_len=60, num_train_epochs=1).steps == 3
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert (report["train"]["rows"], report["rows"]["dropped"]) == (5, 1)


def test_rows_without_answers_are_refused_by_name_for_exact_match(settings, tmp_path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Say {number}"}]} for number in range(4)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="exact_match compares with the rows' own answers, and the rows have none"):
        run(settings)
    assert run(settings, reward_funcs="regex: a", reward_weights=None, max_steps=1).steps == 1


def test_a_checkpoint_of_another_stage_is_not_gone_on_from(settings, tmp_path) -> None:
    run(settings, stage="sft", max_steps=1, output_dir=str(tmp_path / "sft"), reward_funcs=None, reward_weights=None)
    with pytest.raises(RunError, match="of another stage"):
        run(settings, resume_from_checkpoint=str(tmp_path / "sft" / "checkpoints" / "step-1"))


def test_without_trl_the_install_line_is_said(settings, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "trl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"stage: grpo needs the package trl.*pip install 'tunesmith\[grpo\]'"):
        run(settings)


def test_without_vllm_the_install_line_is_said(settings) -> None:
    settings.pop("use_cpu")
    with pytest.raises(MissingExtraError, match=r"use_vllm: true needs .* vllm.*pip install 'tunesmith\[vllm\]'"):
        run(settings, use_vllm=True)


def test_other_stages_do_without_trl() -> None:
    program = "import sys, tunesmith.train.run, tunesmith.cli.main; sys.exit('trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class _Absent:
    """Finds trl to be absent."""

    def find_spec(self, name, path=None, target=None):
        if name == "trl":
            raise ModuleNotFoundError("No module named 'trl'", name="trl")


def test_videos_are_refused_with_their_row(settings, qwen2_5_vl_folder, tmp_path) -> None:
    frames = [str(tmp_path / f"{number}.png") for number in range(2)]
    for frame in frames:
        Image.new("RGB", (56, 56)).save(frame)
    row = {"messages": [{"role": "user", "content": "<video>What?"}], "videos": [frames]}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    with pytest.raises(NotSupportedYetError, match=r"rows.json, row 0: the row has video, and TRL's trainer"):
        run(settings, model_name_or_path=str(qwen2_5_vl_folder), reward_funcs="regex: a", reward_weights=None)
