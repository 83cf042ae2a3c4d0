"""LLaMA-Factory's demo rows with videos and sound, where they are at hand: the processor's ids and tensors, a loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.data.blank import plain_call
from tests.data.conversations import assistant, build_encoder, conversation, user
from tunesmith.chat.message import Conversation, Media
from tunesmith.config.model import MediaSettings
from tunesmith.data.batches.media_inputs import MediaInputs, MediaRow
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.encoding.loaded_media import load_medium
from tunesmith.models.load import load_config, read_pretrained
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor

DEMO = Path(__file__).parents[4] / "shared" / "data" / "llamafactory_demo"

pytestmark = pytest.mark.skipif(not DEMO.is_dir(), reason="the demo datasets are not in ../shared/data")

ModelFolder = Callable[[str], Path]


def demo_rows(name: str) -> list[Conversation]:
    """Questions with their media in front, as all of these files have them."""
    rows = []
    for number, row in enumerate(json.loads((DEMO / f"{name}.json").read_text(encoding="utf-8"))):
        media = [Media("video", str(DEMO / path)) for path in row.get("videos", [])]
        media += [Media("audio", str(DEMO / path)) for path in row.get("audios", [])]
        question, answer = (message["content"] for message in row["messages"])
        text = question.replace("<video>", "").replace("<audio>", "")
        rows.append(conversation(user(*media, text), assistant(answer), row=number))
    return rows


def loss_of(folder: Path, encoded: Encoded, media: dict[str, torch.Tensor]) -> float:
    """The loss of one row: the model takes its ids and its media tensors together."""
    model = read_pretrained(folder, load_config(folder), dtype=None, device="cpu")
    inputs = {"input_ids": torch.from_numpy(encoded.input_ids)[None].long()}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if encoded.token_types is not None:
        inputs["mm_token_type_ids"] = torch.from_numpy(encoded.token_types)[None].long()
    with torch.no_grad():
        return float(model(**inputs, **media, labels=torch.from_numpy(encoded.labels)[None].long()).loss)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("qwen2_5_vl", "mllm_video_demo"),
        ("qwen3_vl", "mllm_video_demo"),
        ("qwen2_audio", "mllm_audio_demo"),
        ("qwen2_5_omni", "mllm_audio_demo"),
        ("qwen2_5_omni", "mllm_video_audio_demo"),
        ("minicpmo_2_6", "mllm_audio_demo"),
        ("minicpmo_2_6", "mllm_video_audio_demo"),
    ],
)
def test_rows_are_the_processors_own(kind: str, name: str, model_folder: ModelFolder) -> None:
    folder = model_folder(kind)
    preprocessor = read_preprocessor(folder, media=MediaSettings(video_maxlen=8))
    encoder, media_inputs = build_encoder(preprocessor), MediaInputs(preprocessor)
    for row in demo_rows(name):
        encoded = encoder.encode(row)
        made = media_inputs([_media_row(row)])
        own = _own_call(preprocessor, encoder.trace(row).rendered.text, row)
        assert encoded.input_ids.tolist() == own["input_ids"][0].tolist()
        for tensor_name, tensor in made.items():
            assert torch.equal(tensor, own[tensor_name]), tensor_name
        assert 5.5 < loss_of(folder, encoded, made) < 7.5  # a random guess among some 600 tokens costs 6.4


def test_sound_of_videos_goes_into_the_model(model_folder: ModelFolder) -> None:
    folder = model_folder("qwen2_5_omni")
    preprocessor = read_preprocessor(folder, media=MediaSettings(video_maxlen=8, use_audio_in_video=True))
    row = demo_rows("mllm_video_audio_demo")[0]

    encoded = build_encoder(preprocessor).encode(row)
    made = MediaInputs(preprocessor)([_media_row(row)])

    # the video has no sound of its own: that of the row's mp3 is woven in, as in LLaMA-Factory
    assert len(made["input_features"]) == 1
    text = preprocessor.tokenizer.decode(encoded.input_ids)
    assert "<|audio_eos|><|vision_eos|>What is" in text and text.count("<|audio_bos|>") == 1
    assert 5.5 < loss_of(folder, encoded, made) < 7.5


def _media_row(row: Conversation) -> MediaRow:
    return MediaRow(tuple((media, row.source) for media in row.media()))


def _own_call(preprocessor: Preprocessor, text: str, row: Conversation) -> dict[str, torch.Tensor]:
    return plain_call(preprocessor.processor, [text], [[load_medium(media, preprocessor) for media in row.media()]])
