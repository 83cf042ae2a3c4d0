"""J5: a text model gets eyes. Composed, its projector trained on captions, then everything by QLoRA, and asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tunesmith as public
from tests.compose.shapes import draw_scenes, write_dataset
from tests.compose.towers import tower_folder
from tests.journeys.given import losses, tunesmith
from tests.tiny import tiny_folder

pytestmark = pytest.mark.slow

SHARED = {"max_steps": 6, "logging_steps": 1, "per_device_train_batch_size": 4, "use_cpu": True}
STAGE_1 = {
    **SHARED,
    "finetuning_type": "full",
    "freeze_language_model": True,
    "freeze_vision_tower": True,
    "freeze_multi_modal_projector": False,
    "learning_rate": 1e-2,
    "save_strategy": "no",
}
STAGE_2 = {
    **SHARED,
    "quantization_bit": 4,
    "finetuning_type": "lora",
    "lora_rank": 16,
    "lora_alpha": 8,
    "lora_dropout": 0.05,
    "freeze_vision_tower": False,
    "vision_lora_rank": 4,
    "vision_lora_alpha": 2,
    "vision_learning_rate": 5e-4,
    "freeze_multi_modal_projector": False,
    "projector_learning_rate": 2e-3,
    "learning_rate": 1e-3,
    "save_steps": 3,
}
"""As XTuner's recipe, at a size for tests: NF4, a rank, an alpha and a learning rate for each part."""


def train(model: Path, data: Path, output: Path, settings: dict[str, Any], **changes: Any) -> Path:
    given = {"model_name_or_path": model, "dataset": "shapes", "dataset_dir": data, "output_dir": output}
    tunesmith("train", *(f"{key}={value}" for key, value in {**given, **settings, **changes}.items()))
    return output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_dataset(folder, draw_scenes(16, seed=0))
    return folder


@pytest.fixture(scope="module", params=["internlm2", "qwen2"])
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """InternLM2 as XTuner's users have it, and a language model whose embeddings are tied."""
    folder = tmp_path_factory.mktemp("halves")
    language = tiny_folder(request.param, folder / "language")
    tower = tower_folder("whole_clip", folder / "tower")
    tunesmith("compose", "llava", "--language_model", language, "--vision_tower", tower, "--output", folder / "joined")
    return folder / "joined"


@pytest.fixture(scope="module")
def stage_1(joined: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(joined, data, tmp_path_factory.mktemp("stage_1") / "run", STAGE_1)


@pytest.fixture(scope="module")
def stage_2(stage_1: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("bitsandbytes")
    return train(stage_1, data, tmp_path_factory.mktemp("stage_2") / "run", STAGE_2)


@pytest.fixture
def example(data: Path) -> dict[str, Any]:
    """A picture, and where its file lies."""
    return {"picture": Image.open(data / "3.png").convert("RGB"), "file": data / "3.png"}


def test_stage_1_trains_the_projector_and_nothing_else(joined: Path, stage_1: Path) -> None:
    before, after = load_file(joined / "model.safetensors"), load_file(stage_1 / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("multi_modal_projector.")}
    assert min(losses(stage_1)[3:]) < losses(stage_1)[0]


def test_the_folder_of_stage_1_is_a_model_with_its_processor(joined: Path, stage_1: Path) -> None:
    names = {path.name for path in stage_1.iterdir()}
    assert names >= {"config.json", "processor_config.json", "tokenizer.json", "chat_template.jinja"}
    assert (stage_1 / "chat_template.jinja").read_text() == (joined / "chat_template.jinja").read_text()


def test_a_picture_may_stand_anywhere_in_a_question(
    joined: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"model_name_or_path={joined}", "dataset=shapes", f"dataset_dir={data}"]
    capsys.readouterr()
    tunesmith("data", "preview", "--format", "jsonl", "--limit", "6", *given)
    shown = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    texts = [text.replace("<image>" * 16, "<image>") for text in shown]
    assert all(text.count("<image>") == 1 for text in texts)
    assert "<image>\nWhat shape is it?" in texts[0]
    assert "What colour is it?\n<image>" in texts[1]
    assert "See \n<image>\n here. What shape is it?" in texts[4]


def test_stage_2_gives_each_part_its_own_adapter_and_the_projector_none(stage_2: Path) -> None:
    tensors = load_file(stage_2 / "adapter_model.safetensors")
    ranks = {
        part: {tensor.shape[0] for name, tensor in tensors.items() if part in name and "lora_A" in name}
        for part in ("vision_tower", "language_model", "multi_modal_projector")
    }
    assert ranks == {"vision_tower": {4}, "language_model": {16}, "multi_modal_projector": set()}
    in_full = {name.rpartition("multi_modal_projector.")[2] for name in tensors if "multi_modal_projector" in name}
    assert in_full == {"linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"}


def test_stage_2_changed_every_part(stage_1: Path, stage_2: Path) -> None:
    before, tensors = load_file(stage_1 / "model.safetensors"), load_file(stage_2 / "adapter_model.safetensors")
    for name in ("linear_1.weight", "linear_2.bias"):
        (after,) = [tensor for key, tensor in tensors.items() if key.endswith(f"multi_modal_projector.{name}")]
        assert not torch.equal(after, before[f"multi_modal_projector.{name}"])
    for part in ("vision_tower", "language_model"):
        assert any(tensor.any() for name, tensor in tensors.items() if part in name and "lora_B" in name)


def test_resumed_it_ends_where_it_would_have(stage_1: Path, stage_2: Path, data: Path, tmp_path: Path) -> None:
    again = shutil.copytree(stage_2, tmp_path / "again")
    (again / "adapter_model.safetensors").unlink()
    shutil.rmtree(again / "checkpoints" / "step-6")
    train(stage_1, data, again, STAGE_2, resume_from_checkpoint=True)

    expected, found = (load_file(run / "adapter_model.safetensors") for run in (stage_2, again))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_merged_it_says_the_same(stage_2: Path, example: dict[str, Any], tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    tunesmith("export", stage_2, f"export_dir={merged}")

    content = [{"type": "image"}, {"type": "text", "text": "What shape is it?"}]
    logits = []
    for folder in (stage_2, merged):
        model, processor = public.load(folder, dtype="float32", device="cpu")
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        inputs = processor(text=[prompt], images=[[example["picture"]]], return_tensors="pt")
        with torch.inference_mode():
            logits.append(model(**inputs).logits)
    torch.testing.assert_close(logits[1], logits[0], atol=1e-5, rtol=1e-4)
    assert (merged / "processor_config.json").is_file()


def test_it_is_asked_about_a_picture(
    stage_2: Path, example: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (stage_2, stage_2 / "checkpoints" / "step-3"):
        words = ("--prompt", "What shape is it?", "--image", example["file"], "max_new_tokens=4", "use_cpu=true")
        tunesmith("chat", folder, *words)
    assert capsys.readouterr().out


def test_the_adapter_by_itself_is_asked_on_a_packed_base(
    stage_1: Path, stage_2: Path, example: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    named = (f"model_name_or_path={stage_1}", f"adapter_name_or_path={stage_2}", "quantization_bit=4")
    tunesmith("chat", *named, "--prompt", "Hi", "--image", example["file"], "max_new_tokens=4", "use_cpu=true")
    assert capsys.readouterr().out
