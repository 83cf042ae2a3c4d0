"""Whole calls of the processor, against the published processors' on the same files, texts and pictures."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from tests.models.families.minicpmv.pictures import digest, draw, published
from tests.tiny.minicpm import write_files
from tunesmith.config.model import MediaSettings
from tunesmith.models.families.minicpmv.processor import MiniCPMOProcessor, MiniCPMVProcessor, read_processor
from tunesmith.models.preprocessing.processor import read_preprocessor

KINDS = ("minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5", "minicpmo_2_6")
IMAGE, VIDEO, AUDIO = "(<image>./</image>)", "(<video>./</video>)", "(<audio>./</audio>)"
ProcessorOf = Callable[[str], MiniCPMVProcessor]


@pytest.fixture(scope="module")
def processor_of(tmp_path_factory: pytest.TempPathFactory) -> ProcessorOf:
    """The processor of a tiny model without its weights. Read-only."""

    def build(kind: str) -> MiniCPMVProcessor:
        folder = tmp_path_factory.mktemp(kind)
        write_files(kind, folder)
        return read_processor(folder)

    return cache(build)


def decoded(processor: MiniCPMVProcessor, output: BatchFeature) -> list[str]:
    """The texts without their padding."""
    rows = zip(output["input_ids"], output["attention_mask"], strict=True)
    return [processor.tokenizer.decode(ids[mask.bool()]) for ids, mask in rows]


def clip(num_frames: int, height: int = 60, width: int = 90) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(draw((width, height)))] * num_frames)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("kind", ["2_6", "4_0", "4_5"])
@pytest.mark.parametrize("number", range(7))
def test_as_published(kind: str, number: int, processor_of: ProcessorOf) -> None:
    case = published(f"texts_{kind}")[number]
    processor = processor_of(f"minicpmv_{kind}")
    images = [[draw(size, mode) for size, mode in row] for row in case["images"]]

    output = processor(case["texts"], images, return_tensors="pt", **case["options"])

    assert decoded(processor, output) == case["written"]
    assert output["attention_mask"].sum(dim=1).tolist() == case["num_ids"]
    assert list(output["input_ids"].shape) == case["padded"]
    written = processor.tokenizer([text.removeprefix("<s>") for text in case["written"]], padding=True).input_ids
    assert output["input_ids"].tolist() == written
    assert output["tgt_sizes"].tolist() == case["tgt_sizes"]
    assert digest(output["pixel_values"]) == case["digest"]


def test_what_the_model_takes(processor_of: ProcessorOf) -> None:
    pictures, texts = [draw((250, 100)), draw((48, 64))], [f"{IMAGE}\nWhat? {IMAGE}"]

    flat = processor_of("minicpmv_2_6")(texts, pictures)
    packed = processor_of("minicpmv_4_5")(texts, pictures)

    assert set(flat) == {"input_ids", "attention_mask", "pixel_values", "tgt_sizes"}
    assert set(packed) == {*flat, "temporal_ids", "group_sizes"}
    assert packed["pixel_values"].shape == (5 * 12 + 4 * 9 * 7, 3, 14, 14)
    assert packed["temporal_ids"].tolist() == [-1] * 5 and packed["group_sizes"].tolist() == [1] * 5
    moved = packed.to(torch.bfloat16)
    assert moved["pixel_values"].dtype == torch.bfloat16 and moved["tgt_sizes"].dtype == torch.int64


@pytest.mark.parametrize("kind", KINDS)
def test_text_alone_is_the_tokenizers(kind: str, processor_of: ProcessorOf) -> None:
    processor, texts = processor_of(kind), ["你好, a picture?", "short"]

    output = processor(text=texts, padding=True, return_tensors="pt")

    assert set(output) == {"input_ids", "attention_mask"}
    assert output["input_ids"].tolist() == processor.tokenizer(texts, padding=True).input_ids


def test_pictures_in_one_list_or_in_one_a_text(processor_of: ProcessorOf) -> None:
    processor, first, second = processor_of("minicpmv_4_5"), draw((250, 100)), draw((48, 64))
    texts = [f"{IMAGE}\nA", "no picture", f"{IMAGE} a longer one"]

    flat = processor(texts, [first, second])

    assert decoded(processor, flat)[2].startswith("<image_id>0</image_id><image>")  # counted anew in each text
    for images in ([[first], [], [second]], [[first], [second]]):
        nested = processor(texts, images)
        assert torch.equal(nested["input_ids"], flat["input_ids"])
        assert torch.equal(nested["pixel_values"], flat["pixel_values"])


def test_a_single_picture_needs_no_list(processor_of: ProcessorOf, tmp_path: Path) -> None:
    processor = processor_of("minicpmv_4_5")
    draw((48, 64)).save(tmp_path / "a.png")

    by_itself = processor(IMAGE, draw((48, 64)))

    assert torch.equal(processor(IMAGE, [str(tmp_path / "a.png")])["pixel_values"], by_itself["pixel_values"])
    assert torch.equal(processor(text=[IMAGE], images=[[draw((48, 64))]])["input_ids"], by_itself["input_ids"])


def test_media_come_in_the_order_of_their_markers(processor_of: ProcessorOf) -> None:
    processor = processor_of("minicpmv_4_5")
    picture, frames = draw((48, 64)), clip(2)
    seen = [{"fps": 2.0, "total_num_frames": 2, "frames_indices": [0, 1]}]

    output = processor(
        [f"{VIDEO}\n{IMAGE} what?", f"{IMAGE}"],
        images=[picture, picture],
        videos=[frames],
        videos_kwargs={"video_metadata": seen},
    )

    still = processor.image_processor.cut(picture)
    assert output["temporal_ids"].tolist() == [0, 5, -1, -1]
    assert output["tgt_sizes"][2].tolist() == still.tgt_sizes[0].tolist()
    assert torch.equal(output["pixel_values"][-2 * len(still.patches) :], still.patches.repeat(2, 1, 1, 1))
    first, second = decoded(processor, output)
    run = "<image><unk><unk><unk><unk></image>"
    assert first == f"{run}\n{run}\n<image_id>0</image_id>{run} what?"
    assert second == f"<image_id>0</image_id>{run}"


def test_sound_beside_pictures(processor_of: ProcessorOf) -> None:
    processor = processor_of("minicpmo_2_6")
    tone = np.sin(np.arange(16_000) * 0.05).astype(np.float32)

    output = processor(f"{AUDIO}\n{IMAGE}\n{AUDIO} hear?", images=[draw((48, 64))], audio=[tone, tone[:8000]])

    assert isinstance(processor, MiniCPMOProcessor)
    assert output["audio_feature_lens"].tolist() == [100, 50] and output["audio_clip_sizes"].tolist() == [1, 1]
    assert decoded(processor, output) == [
        f"<|audio_start|>{'<unk>' * 25}<|audio_end|>\n<image_id>0</image_id><image>{'<unk>' * 4}</image>\n"
        f"<|audio_start|>{'<unk>' * 12}<|audio_end|> hear?"
    ]


@pytest.mark.parametrize(
    ("texts", "images", "message"),
    [
        ([IMAGE], None, r"the text has 1 \(<image>./</image>\), but 0 media were given for it"),
        (["x"], 1, r"the text has 0 \(<image>./</image>\), but 1 media were given for it"),
        ([IMAGE, IMAGE], [2, 0], r"text 1 has 1 \(<image>./</image>\), but 2 media were given for it"),
        ([AUDIO], None, r"the text has 1 \(<audio>./</audio>\), but 0 media were given for it"),
    ],
)
def test_markers_and_media_must_agree(texts: list[str], images: Any, message: str, processor_of: ProcessorOf) -> None:
    picture = draw((48, 64))
    given = [[picture] * count for count in images] if isinstance(images, list) else images and [picture]

    with pytest.raises(ValueError, match=message):
        processor_of("minicpmv_4_5")(texts, given)


def test_a_model_that_does_not_hear_says_so(processor_of: ProcessorOf) -> None:
    with pytest.raises(ValueError, match="this model takes images and videos, no sound"):
        processor_of("minicpmv_4_5")(AUDIO, audio=[np.zeros(16_000, np.float32)])


def test_frames_given_as_pictures_are_refused(processor_of: ProcessorOf) -> None:
    with pytest.raises(ValueError, match=r"give the frames as `videos` where the text has one \(<video>./</video>\)"):
        processor_of("minicpmv_4_5")(IMAGE, draw((48, 64)), temporal_ids=[[[0]]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_gets_the_same_one(kind: str, processor_of: ProcessorOf) -> None:
    processor = processor_of(kind)

    sent = pickle.loads(pickle.dumps(processor))

    assert sent.to_dict() == processor.to_dict()
    text, picture = f"{IMAGE}\nWhat?", draw((250, 100))
    assert torch.equal(sent(text, picture)["input_ids"], processor(text, picture)["input_ids"])


def test_a_length_may_cut_text_and_no_picture(processor_of: ProcessorOf) -> None:
    processor, picture = processor_of("minicpmv_4_5"), draw((48, 64))

    assert processor(f"{IMAGE}\nWhat is in the picture?", picture, max_length=12)["input_ids"].shape == (1, 12)
    with pytest.raises(ValueError, match="max_length leaves 2 of the 4 tokens that stand for media"):
        processor(f"{IMAGE}\nWhat is in the picture?", picture, max_length=6)


def test_padding_is_the_tokenizers(processor_of: ProcessorOf) -> None:
    processor = processor_of("minicpmv_4_5")

    right = processor(["a", "a b c d"])
    left = processor(["a", "a b c d"], padding_side="left")
    none = processor(["a", "a b c d"], padding=False, return_tensors=None)

    assert right["attention_mask"][0].tolist() == left["attention_mask"][0].flip(0).tolist() != [1] * 4
    assert [len(row) for row in none["input_ids"]] == right["attention_mask"].sum(dim=1).tolist()


def test_a_conversation_with_parts(processor_of: ProcessorOf) -> None:
    processor, picture = processor_of("minicpmv_4_5"), draw((250, 100))
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is it?"}]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}

    output = processor.apply_chat_template([{"role": "user", "content": parts}], **options)

    prompt = f"<|im_start|>user\n{IMAGE}\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"
    expected = processor(prompt, [picture])
    assert set(output) == set(expected)
    for name, values in expected.items():
        assert torch.equal(output[name], values), name


def test_a_batch_of_conversations(processor_of: ProcessorOf) -> None:
    processor, picture = processor_of("minicpmv_4_5"), draw((250, 100))
    seen = [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image", "image": picture}]}]
    plain = [{"role": "user", "content": "Only text."}]

    output = processor.apply_chat_template(
        [plain, seen], tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )

    assert output["tgt_sizes"].shape == (4, 2)
    texts = decoded(processor, output)
    assert texts[0] == "<|im_start|>user\nOnly text.<|im_end|>\n<|im_start|>assistant\n"
    assert texts[1].startswith("<|im_start|>user\nSee\n<image_id>0</image_id><image>")


@pytest.mark.parametrize("kind", KINDS)
def test_saved_as_published(kind: str, processor_of: ProcessorOf, tmp_path: Path) -> None:
    processor = processor_of(kind)
    source = processor.published.folder
    (source / "processing_minicpmv.py").write_text("# the model's own code\n", encoding="utf-8")

    processor.save_pretrained(tmp_path)

    for name in ("preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json"):
        before, after = (json.loads((folder / name).read_text("utf-8")) for folder in (source, tmp_path))
        assert {key: after[key] for key in before} == before
    assert (tmp_path / "processing_minicpmv.py").read_text("utf-8") == "# the model's own code\n"
    assert not (tmp_path / "chat_template.jinja").exists() and not (tmp_path / "processor_config.json").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_read_without_a_config(kind: str, processor_of: ProcessorOf, tmp_path: Path) -> None:
    processor = processor_of(kind)
    processor.save_pretrained(tmp_path)  # as beside an adapter, whose folder has no config.json

    again = MiniCPMVProcessor.from_pretrained(tmp_path)

    assert type(again) is type(processor)
    assert again.chat_template == processor.chat_template and again.is_3d == processor.is_3d
    text, picture = f"{IMAGE}\nWhat? 图片", draw((250, 100))
    first, second = processor(text, [picture]), again(text, [picture])
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_preprocessor(tmp_path, media=MediaSettings()).kinds == (
        ("image", "video", "audio") if kind == "minicpmo_2_6" else ("image", "video")
    )


def test_a_changed_template_is_saved(processor_of: ProcessorOf, tmp_path: Path) -> None:
    processor = read_processor(processor_of("minicpmv_4_5").published.folder)
    processor.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"

    processor.save_pretrained(tmp_path)

    again = read_processor(tmp_path)
    assert again.tokenizer.chat_template == processor.chat_template
    content = [{"type": "image"}, {"type": "text", "text": "x"}]
    assert again.apply_chat_template([{"role": "user", "content": content}]) == f"{IMAGE}\nx"


def test_a_folder_without_a_template_has_none(processor_of: ProcessorOf, tmp_path: Path) -> None:
    processor = read_processor(processor_of("minicpmv_4_5").published.folder)
    processor.chat_template = processor.tokenizer.chat_template = None
    processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    del config["chat_template"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")

    assert read_processor(tmp_path).chat_template is None
