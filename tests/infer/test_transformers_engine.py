from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from tests.data.recordings import video
from tunesmith.chat.message import Conversation, Media, Message, Text
from tunesmith.config.generation import GenerationSettings
from tunesmith.data.encoding.encode import build_template
from tunesmith.infer.end_of_turn import end_of_turn_id
from tunesmith.infer.open import OpenModel, open_model, open_preprocessor
from tunesmith.infer.source import find_source

GREEDY = GenerationSettings(temperature=0, max_new_tokens=12)
SAMPLED = GenerationSettings(temperature=1.5, top_p=1.0, max_new_tokens=12)
QUESTION = Conversation((Message("user", (Text("What is in the picture? 你好"),)),))


@pytest.fixture(scope="module")
def text_model(qwen2_folder: Path) -> OpenModel:
    return open_model(find_source(qwen2_folder))


@pytest.fixture(scope="module")
def vision_model(qwen2_5_vl_folder: Path) -> OpenModel:
    return open_model(find_source(qwen2_5_vl_folder))


def greedy_ids(folder: Path) -> list[int]:
    """What transformers answers to QUESTION by itself, greedily, 12 tokens long."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is in the picture? 你好"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    output = model.generate(**prompt, do_sample=False, max_new_tokens=12, eos_token_id=-1, repetition_penalty=1.0)
    ids: list[int] = output[0, prompt["input_ids"].shape[1] :].tolist()
    return ids


def test_a_greedy_answer_is_transformers_own(text_model: OpenModel, qwen2_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen2_folder)
    expected = tokenizer.decode(greedy_ids(qwen2_folder), skip_special_tokens=True).rstrip("\ufffd")
    assert text_model.engine.answer(QUESTION, GREEDY) == expected


def test_an_answer_about_an_image_is_transformers_own(
    vision_model: OpenModel, qwen2_5_vl_folder: Path, picture: Path
) -> None:
    processor = AutoProcessor.from_pretrained(qwen2_5_vl_folder)
    model = AutoModelForImageTextToText.from_pretrained(qwen2_5_vl_folder)
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    prompt = processor(text=[text], images=[Image.open(picture).convert("RGB")], return_tensors="pt")
    ids = model.generate(**prompt, do_sample=False, max_new_tokens=12)[0, prompt["input_ids"].shape[1] :]
    expected = processor.decode(ids, skip_special_tokens=True).rstrip("\ufffd")
    asked = Conversation((Message("user", (Media("image", str(picture)), Text("What is it?"))),))
    assert vision_model.engine.answer(asked, GREEDY) == expected


def test_streamed_pieces_joined_are_the_answer(text_model: OpenModel) -> None:
    pieces = list(text_model.engine.stream(QUESTION, GREEDY))
    assert len(pieces) > 1
    assert "".join(pieces) == text_model.engine.answer(QUESTION, GREEDY)


def test_do_sample_false_is_temperature_zero(text_model: OpenModel) -> None:
    greedy = GenerationSettings(do_sample=False, temperature=0.9, top_p=0.5, top_k=3, max_new_tokens=12)
    assert text_model.engine.answer(QUESTION, greedy) == text_model.engine.answer(QUESTION, GREEDY)


def test_a_seed_decides_the_answer_and_leaves_the_random_state(text_model: OpenModel) -> None:
    before = torch.get_rng_state()
    answers = [text_model.engine.answer(QUESTION, SAMPLED, seed=seed) for seed in (1, 1, 2)]
    streamed = "".join(text_model.engine.stream(QUESTION, SAMPLED, seed=1))
    assert answers[0] == answers[1] == streamed != answers[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_several_beams_answer_in_one_piece(text_model: OpenModel) -> None:
    beams = GREEDY.model_copy(update={"num_beams": 3})
    assert list(text_model.engine.stream(QUESTION, beams)) == [text_model.engine.answer(QUESTION, beams)]


def test_a_repetition_penalty_reaches_generation(text_model: OpenModel) -> None:
    penalised = GREEDY.model_copy(update={"repetition_penalty": 50.0})
    ids = text_model.preprocessor.tokenizer(text_model.engine.answer(QUESTION, penalised)).input_ids
    assert text_model.engine.answer(QUESTION, penalised) != text_model.engine.answer(QUESTION, GREEDY)
    assert len(set(ids)) > 1


@pytest.mark.parametrize(
    ("template", "end"), [(None, "<|im_end|>"), ("llama2", "<|im_end|>"), ("vicuna", "<|im_end|>")]
)
def test_the_end_of_turn_is_the_one_that_training_teaches(template: str | None, end: str, qwen2_folder: Path) -> None:
    """ChatML writes it; the others end an answer with the tokenizer's eos, which here is the same token."""
    source = find_source(qwen2_folder, [f"template={template}"] if template else [])
    preprocessor = open_preprocessor(source)
    used = build_template(preprocessor, source.settings.data)
    assert end_of_turn_id(preprocessor, used) == preprocessor.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_an_answer_ends_before_a_token_of_the_generation_config(qwen2_folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen2_folder)
    ids = greedy_ids(qwen2_folder)
    stopping = shutil.copytree(qwen2_folder, tmp_path / "model")
    (stopping / "generation_config.json").write_text(json.dumps({"eos_token_id": [ids[4]]}))
    engine = open_model(find_source(stopping)).engine
    expected = tokenizer.decode(ids[: ids.index(ids[4])]).rstrip("\ufffd")
    assert engine.answer(QUESTION, GREEDY) == expected
    assert "".join(engine.stream(QUESTION, GREEDY)) == expected


def test_the_end_of_turn_token_can_be_shown(qwen2_folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen2_folder)
    ids = greedy_ids(qwen2_folder)
    stopping = shutil.copytree(qwen2_folder, tmp_path / "model")
    (stopping / "generation_config.json").write_text(json.dumps({"eos_token_id": [ids[4]]}))
    everything = GREEDY.model_copy(update={"skip_special_tokens": False})
    shown = open_model(find_source(stopping)).engine.answer(QUESTION, everything)
    assert shown == tokenizer.decode(ids[: ids.index(ids[4]) + 1]).rstrip("\ufffd")


def test_a_model_accepts_what_it_and_its_template_know(text_model: OpenModel, vision_model: OpenModel) -> None:
    assert vision_model.engine.accepts("image")
    assert not text_model.engine.accepts("image")
    assert vision_model.engine.accepts("video")
    assert not vision_model.engine.accepts("audio")


def test_an_answer_about_a_video_is_of_that_video(vision_model: OpenModel, tmp_path: Path) -> None:
    def asked(*media: Media) -> str:
        return vision_model.engine.answer(Conversation((Message("user", (*media, Text("What is it?"))),)), GREEDY)

    short, long = (video(tmp_path / f"{frames}.mp4", num_frames=frames) for frames in (10, 40))
    assert asked(long) == asked(Media("video", long.source)) != asked(short)


def test_a_conversation_goes_on_after_an_empty_answer(text_model: OpenModel) -> None:
    empty = Message("assistant", (Text(""),))
    asked = Conversation((*QUESTION.messages, empty, *QUESTION.messages))
    assert isinstance(text_model.engine.answer(asked, GREEDY), str)
