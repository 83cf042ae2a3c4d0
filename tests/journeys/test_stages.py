"""J1 and J6 beyond SFT, by the commands alone: pre-training, DPO on the SFT adapter, a reward model, the merge.

LLaMA-Factory's own demo files run as they are where they are at hand.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from tests.journeys.given import DEMO_DATA, losses, needs_demo_data, read_json_lines, tunesmith
from tests.tiny import tiny_folder
from tunesmith.cli.main import main

pytestmark = pytest.mark.slow

SMALL = ["use_cpu=true", "logging_steps=1", "save_steps=4", "lora_rank=4", "learning_rate=0.005", "seed=7"]

_CONVERSATION = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'


def last_line(run: Path, key: str) -> float:
    """The last value of `key` in a run's metrics."""
    value = [line[key] for line in read_json_lines(run / "metrics.jsonl") if key in line][-1]
    assert isinstance(value, float | int)
    return float(value)


def write_rlhf_v(folder: Path, *, num_rows: int = 12) -> Path:
    """Pairs with pictures as LLaMA-Factory registers RLHF-V: red or blue, and one answer is right."""
    folder.mkdir()
    rows = []
    for number in range(num_rows):
        name, other = ("red", "blue") if number % 2 else ("blue", "red")
        Image.new("RGB", (56, 56), name).save(folder / f"{number}.png")
        rows.append(
            {
                "conversations": [{"from": "human", "value": f"<image>Which colour is number {number}?"}],
                "chosen": {"from": "gpt", "value": f"It is {name}."},
                "rejected": {"from": "gpt", "value": f"It is {other}."},
                "images": [f"{number}.png"],
            }
        )
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
    entry = {"file_name": "rlhf_v.json", "formatting": "sharegpt", "ranking": True, "columns": columns}
    (folder / "rlhf_v.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"rlhf_v": entry}))
    return folder


def write_conversations(folder: Path) -> Path:
    """The same pictures with the right answer alone."""
    pairs = json.loads((folder / "rlhf_v.json").read_text())
    rows = [
        {"conversations": [*pair["conversations"], pair["chosen"]], "images": [str(folder / pair["images"][0])]}
        for pair in pairs
    ]
    (folder / "sft.json").write_text(json.dumps(rows))
    return folder / "sft.json"


def test_from_sft_to_dpo_on_pictures_and_to_one_folder(tmp_path: Path) -> None:
    base, data = tiny_folder("qwen2_5_vl", tmp_path / "base"), write_rlhf_v(tmp_path / "data")
    sft, dpo, merged = tmp_path / "sft", tmp_path / "dpo", tmp_path / "merged"
    model = f"model_name_or_path={base}"
    tunesmith(
        *("train", model, f"dataset={write_conversations(data)}", f"output_dir={sft}", *SMALL),
        *("max_steps=6", "per_device_train_batch_size=4"),
    )
    tunesmith(
        *("train", model, "stage=dpo", "pref_loss=sigmoid", "pref_beta=0.1", f"adapter_name_or_path={sft}", *SMALL),
        *("dataset=rlhf_v", f"dataset_dir={data}", f"output_dir={dpo}", "num_train_epochs=2", "val_size=4"),
        *("per_device_train_batch_size=2", "gradient_accumulation_steps=2"),
    )
    first = read_json_lines(dpo / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)  # the reference is the SFT adapter, not the bare base
    assert losses(dpo)[-1] < losses(dpo)[0]
    assert last_line(dpo, "rewards/margins") > 0
    assert 0 <= last_line(dpo, "eval_rewards/accuracies") <= 1

    tunesmith("export", dpo, f"export_dir={merged}", "export_device=cpu")
    assert {path.name for path in merged.iterdir()} >= {path.name for path in base.iterdir()}


def test_from_documents_to_a_reward_model(tmp_path: Path) -> None:
    base = tiny_folder("qwen2", tmp_path / "base")
    texts = [f"River number {number} carries what it can hold. " * 3 for number in range(24)]
    (tmp_path / "documents.txt").write_text("\n".join(texts))
    pairs = [{"prompt": f"Say {n}.", "chosen": f"{n} it is.", "rejected": "No no no."} for n in range(16)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs))
    pretrained, reward = tmp_path / "pretrained", tmp_path / "reward"
    tunesmith(
        *("train", f"model_name_or_path={base}", "stage=pt", "finetuning_type=full", *SMALL[:-2]),
        *(f"dataset={tmp_path / 'documents.txt'}", f"output_dir={pretrained}", "cutoff_len=128", "max_steps=8"),
        *("val_size=4", "eval_steps=4", "learning_rate=0.01"),
    )
    perplexities = [
        line["eval_perplexity"] for line in read_json_lines(pretrained / "metrics.jsonl") if "eval_loss" in line
    ]
    assert perplexities[-1] < perplexities[0]
    tunesmith(
        *("train", f"model_name_or_path={pretrained}", "stage=rm", f"dataset={tmp_path / 'pairs.jsonl'}", *SMALL),
        *(f"output_dir={reward}", "max_steps=8", "per_device_train_batch_size=8"),
    )
    assert losses(reward)[-1] < losses(reward)[0]
    assert last_line(reward, "rewards/accuracies") == 1.0


@needs_demo_data
@pytest.mark.parametrize(
    ("stage", "dataset"), [("dpo", "dpo_en_demo,dpo_zh_demo"), ("kto", "kto_en_demo"), ("rm", "dpo_en_demo")]
)
def test_llama_factory_s_preference_demos_run_as_they_are(stage: str, dataset: str, tmp_path: Path) -> None:
    base, run = tiny_folder("qwen2", tmp_path / "base"), tmp_path / "run"
    tunesmith(
        *("train", f"model_name_or_path={base}", f"stage={stage}", f"dataset={dataset}", f"dataset_dir={DEMO_DATA}"),
        *(f"output_dir={run}", *SMALL, "max_samples=40", "max_steps=3", "template=qwen", "cutoff_len=1024"),
        *("per_device_train_batch_size=2", "gradient_accumulation_steps=2"),
    )
    assert all(math.isfinite(loss) for loss in losses(run))


@pytest.mark.parametrize(
    ("stage", "rows", "words"),
    [
        ("sft", '{"prompt": "a", "chosen": "b", "rejected": "c"}', ("chosen", "dpo")),
        (
            "dpo",
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
            ("dpo", "sft"),
        ),
        ("kto", '{"prompt": "a", "chosen": "b", "rejected": "c"}', ("kto", "dpo")),
        (
            "pt",
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
            ("pt", "sft"),
        ),
    ],
)
def test_rows_of_another_stage_end_in_one_message(
    stage: str, rows: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_folder("qwen2", tmp_path / "base")
    (tmp_path / "rows.jsonl").write_text(f"{rows}\n" * 4)
    command = ["train", f"model_name_or_path={base}", f"stage={stage}", f"dataset={tmp_path / 'rows.jsonl'}"]
    assert main([*command, f"output_dir={tmp_path / 'run'}", "use_cpu=true"]) in (1, 2)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert all(word in message for word in words)
    assert not (tmp_path / "run").exists()
