"""MiniCPM-o's logits are those of the published code (golden/omni.json), and sound keeps to its own sample.

For "two" the published code was given each clip by itself: in one call shorter clips also attend to padding there, and
what is heard of them depends on the others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tunesmith
from tests.models.families.minicpmv.omni import (
    QUESTIONS,
    VERSIONS,
    Question,
    build_omni,
    change_config,
    write_omni_files,
)
from tests.tiny import tiny_folder
from tunesmith import log
from tunesmith.errors import ModelError
from tunesmith.models.families.minicpmv.omni_model import MiniCPMOForConditionalGeneration
from tunesmith.models.families.minicpmv.processor import MiniCPMVProcessor, read_processor
from tunesmith.models.load import load_config
from tunesmith.models.saving import save_model

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden/omni.json").read_text())
CASES = [(version, name) for version in VERSIONS for name in GOLDEN[version]]
SMALL = Question("IMAGE\nWhat?\nSOUND", [(60, 60)], ["tiny"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {version: write_omni_files(version, tmp_path_factory.mktemp(version)) for version in VERSIONS}


@pytest.fixture(scope="module")
def omni(folders: dict[str, Path]) -> tuple[MiniCPMOForConditionalGeneration, MiniCPMVProcessor]:
    return build_omni(folders["minicpmo_2_6"]), read_processor(folders["minicpmo_2_6"])


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The tiny -o with weights of a speech output beside its own, as it is published."""
    folder = tiny_folder("minicpmo_2_6", tmp_path / "published")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "tts.dvae.coef": torch.ones(3)}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(("version", "name"), CASES)
def test_logits_are_those_of_the_published_model(folders: dict[str, Path], version: str, name: str) -> None:
    golden = GOLDEN[version][name]
    inputs = read_processor(folders[version])(**QUESTIONS[name].processor_inputs())

    with torch.no_grad():
        logits = build_omni(folders[version])(**inputs).logits[0]

    assert logits[golden["places"], :8].tolist() == [pytest.approx(row, abs=1e-4) for row in golden["logits"]]
    assert logits[golden["places"]].argmax(-1).tolist() == golden["largest"]
    assert float(logits.double().abs().sum()) == pytest.approx(golden["sum"], rel=1e-5)


def test_eager_attention_hears_the_same(folders: dict[str, Path]) -> None:
    folder = folders["minicpmo_2_6"]
    inputs = read_processor(folder)(**QUESTIONS["image_sound"].processor_inputs())
    model = build_omni(folder)
    with torch.no_grad():
        before = model(**inputs).logits
        model.set_attn_implementation("eager")
        after = model(**inputs).logits

    assert torch.allclose(before, after, atol=1e-4)


def test_samples_with_sound_image_and_text_do_not_touch_each_other_in_a_batch(
    omni: tuple[MiniCPMOForConditionalGeneration, MiniCPMVProcessor],
) -> None:
    model, processor = omni[0].double(), omni[1]
    questions = [
        SMALL,
        Question("Hi."),
        Question("SOUND and SOUND", (), ["odd", "short"]),
        Question("IMAGE", [(90, 60)]),
    ]
    given = [question.processor_inputs() for question in questions]
    together = processor(
        [one["text"] for one in given],
        images=[picture for one in given for picture in one.get("images", [])],
        audio=[sound for one in given for sound in one.get("audio", [])],
        padding_side="right",
    )

    with torch.no_grad():
        batch = model(**together).logits
        alone = [model(**processor(**one)).logits[0] for one in given]

    for row, logits in zip(batch, alone, strict=True):
        assert torch.allclose(row[: len(logits)], logits, atol=1e-5)


def test_generation_hears_in_its_first_step_only(
    omni: tuple[MiniCPMOForConditionalGeneration, MiniCPMVProcessor],
) -> None:
    model, inputs = omni[0].float(), omni[1](**SMALL.processor_inputs())

    cached = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    uncached = model.generate(**inputs, max_new_tokens=4, do_sample=False, use_cache=False)
    beams = model.generate(**inputs, max_new_tokens=2, do_sample=False, num_beams=2)

    assert cached.shape[1] == inputs["input_ids"].shape[1] + 4
    assert cached.tolist() == uncached.tolist()
    assert beams.shape[1] == inputs["input_ids"].shape[1] + 2


def test_sound_that_does_not_fit_the_text_is_refused(
    omni: tuple[MiniCPMOForConditionalGeneration, MiniCPMVProcessor],
) -> None:
    model, processor = omni
    heard = dict(processor(**Question("SOUND SOUND", (), ["short", "odd"]).processor_inputs()))
    swapped = {
        **heard,
        "input_ids": processor(**Question("SOUND SOUND", (), ["odd", "short"]).processor_inputs())["input_ids"],
    }
    without_lens = {name: value for name, value in heard.items() if name != "audio_feature_lens"}

    with pytest.raises(ValueError, match="87 placeholders for sound in 4 runs, and sounds of 37, 50 tokens"):
        model(**swapped)
    with pytest.raises(ValueError, match="audio_features were given without audio_feature_lens"):
        model(**without_lens)


def test_speech_output_is_left_out_and_said_once(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    log.forget_said()
    with caplog.at_level("INFO"):
        model, _ = tunesmith.load(published)
        tunesmith.load(published)

    assert not any(name.startswith("tts") for name in model.state_dict())
    assert [text for text in caplog.messages if "tts" in text] == [
        "note: the model's speech output (weights tts.*) is not loaded and does not train: it stays as the base has it"
    ]


def test_what_it_saves_is_the_published_config_and_loads_again(published: Path, tmp_path: Path) -> None:
    model, processor = tunesmith.load(published)
    before = json.loads((published / "config.json").read_text())
    inputs = processor(**QUESTIONS["image_sound"].processor_inputs())

    save_model(model, tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again, reader = tunesmith.load(tmp_path / "saved")
    after = json.loads((tmp_path / "saved/config.json").read_text())

    assert {name: after[name] for name in before if name != "transformers_version"} == {
        name: value for name, value in before.items() if name != "transformers_version"
    }
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert torch.equal(
        reader(**QUESTIONS["two"].processor_inputs())["input_ids"],
        processor(**QUESTIONS["two"].processor_inputs())["input_ids"],
    )


def test_without_weights_to_hear_it_reads_text_and_images(published: Path) -> None:
    heard = read_processor(published)(**QUESTIONS["image_sound"].processor_inputs())
    weights = load_file(published / "model.safetensors")
    deaf = {name: value for name, value in weights.items() if not name.startswith(("apm.", "audio_"))}
    save_file(deaf, published / "model.safetensors", {"format": "pt"})

    model, processor = tunesmith.load(published)
    seen = processor(**Question("IMAGE What?", [(60, 60)]).processor_inputs())

    assert model(**seen).logits.shape[-1] == load_config(published).get_text_config().vocab_size
    with pytest.raises(ValueError, match="this model cannot hear"):
        model(**heard)


def test_init_audio_false_leaves_the_encoder_out(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    change_config(published, {"init_audio": False})

    model, processor = tunesmith.load(published)

    assert not hasattr(model, "apm")
    assert not hasattr(processor, "audio_token")
    assert not [text for text in caplog.messages if "does not use" in text]


def test_a_tokenizer_without_marks_for_sound_is_refused(published: Path) -> None:
    change_config(published, {"media_token_ids": {"image_start": 1, "image_end": 2, "slice_start": 3, "slice_end": 4}})

    with pytest.raises(ModelError, match="no tokens for audio_start, audio_end"):
        load_config(published)
