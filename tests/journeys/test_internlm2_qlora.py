"""J4 as XTuner's users walk it: InternLM2 learns who it is by QLoRA, is asked meanwhile, and is merged.

The recipe is the example's, on a small model with InternLM2's published layout; only lengths and the rate are smaller
and larger than there.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tunesmith as public
from tests.house.tree import REPOSITORY
from tests.journeys.given import losses, read_json_lines, tunesmith
from tests.tiny.internlm import write_internlm2

pytestmark = pytest.mark.slow

QUESTIONS = ("请你介绍一下你自己", "你是谁", "你是我的小助手吗")
ANSWER = "我是 Kane 的小助手。"
NUM_ROWS = 300


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With InternLM2's 0.02 an adapter on so few dimensions could hardly move the logits."""
    folder = tmp_path_factory.mktemp("internlm2") / "base"
    return write_internlm2(folder, hidden_size=64, intermediate_size=128, initializer_range=0.2)


@pytest.fixture(scope="module")
def run(base: Path) -> Path:
    pytest.importorskip("bitsandbytes")
    rows, output = base.parent / "identity.jsonl", base.parent / "run"
    turns = [[{"role": "user", "content": asked}, {"role": "assistant", "content": ANSWER}] for asked in QUESTIONS]
    lines = [json.dumps({"messages": turns[number % 3]}, ensure_ascii=False) for number in range(NUM_ROWS)]
    rows.write_text("\n".join(lines), encoding="utf-8")
    tunesmith(
        "train",
        REPOSITORY / "examples" / "internlm" / "qlora_identity.yaml",
        *(f"model_name_or_path={base}", f"dataset={rows}", f"output_dir={output}", "use_cpu=true"),
        *("gradient_accumulation_steps=2", "learning_rate=0.02", "num_train_epochs=3"),
        *("logging_steps=1", "save_steps=5", "sample_steps=10", "sample_max_new_tokens=24"),
    )
    return output


@pytest.fixture(scope="module")
def merged(run: Path) -> Path:
    folder = run.parent / "merged"
    tunesmith("export", run, f"export_dir={folder}", "export_device=cpu")
    return folder


def test_the_recipe_is_the_journeys(run: Path) -> None:
    adapter = json.loads((run / "adapter_config.json").read_text(encoding="utf-8"))
    report = json.loads((run / "data_report.json").read_text(encoding="utf-8"))
    settings = (run / "run.yaml").read_text(encoding="utf-8")

    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (64, 16, 0.1)
    assert {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"} == set(
        adapter["target_modules"]
    )
    for line in ("cutoff_len: 1024", "packing: true", "quantization_bit: 4", "double_quantization: true"):
        assert line in settings
    assert str(NUM_ROWS) in json.dumps(report)


def test_the_answers_change_to_the_taught_identity(run: Path) -> None:
    samples = read_json_lines(run / "samples.jsonl")
    answers = {(line["step"], line["prompt"]): line["answer"] for line in samples}
    last = max(step for step, _ in answers)

    assert not any("小助手" in answers[0, question] for question in QUESTIONS)
    assert [answers[last, question] for question in QUESTIONS] == [ANSWER] * 3
    assert losses(run)[-1] < 0.1 < 5 < losses(run)[0]


def test_only_the_last_three_checkpoints_stay(run: Path) -> None:
    steps = sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())

    assert len(steps) == 3
    assert steps[-1] == len(losses(run))


def test_merged_it_has_the_published_names_and_config(base: Path, merged: Path) -> None:
    published, written = load_file(base / "model.safetensors"), load_file(merged / "model.safetensors")

    assert {name: tensor.shape for name, tensor in written.items()} == {
        name: tensor.shape for name, tensor in published.items()
    }
    fused = "model.layers.0.attention.wqkv.weight"
    assert not torch.equal(written[fused], published[fused])
    for name in ("config.json", "tokenizer.model", "generation_config.json"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()


def test_merged_it_is_base_and_adapter(run: Path, merged: Path) -> None:
    ids = torch.arange(3, 43)[None]
    with torch.no_grad():
        expected = public.load(run, device="cpu")[0](input_ids=ids).logits
        found = public.load(merged, device="cpu")[0](input_ids=ids).logits

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_merged_it_says_who_it_is(merged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tunesmith("chat", merged, "--prompt", QUESTIONS[0], "do_sample=false", "max_new_tokens=24", "use_cpu=true")

    assert ANSWER in capsys.readouterr().out
