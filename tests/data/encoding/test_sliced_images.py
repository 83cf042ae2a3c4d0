"""Pictures that are cut into slices and numbered in the text: counted as the model's processor writes them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.data.conversations import assistant, build_encoder, conversation, opened, picture, supervised_text, user
from tunesmith.chat.message import Conversation, Message, Text
from tunesmith.config.model import MediaSettings
from tunesmith.data.batches.media_inputs import MediaInputs, MediaRow
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.formats.minicpmv import read_minicpmv
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
ModelFolder = Callable[[str], Path]
KINDS = ("minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5", "minicpmo_2_6")
RUN = "<unk>" * 4


def own_call(preprocessor: Preprocessor, row: Conversation) -> dict[str, torch.Tensor]:
    """The processor on the text that the encoder renders, and on the row's pictures."""
    trace = build_encoder(preprocessor).trace(row)
    images = [opened(media) for media in row.media()]
    adds_bos = {} if preprocessor.tokenizer.bos_token != "<|im_start|>" else {"add_special_tokens": False}
    return dict(preprocessor.processor([trace.rendered.text], images, **adds_bos))


def text_of(preprocessor: Preprocessor, encoded: Encoded) -> str:
    return str(preprocessor.tokenizer.decode(encoded.input_ids))


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_tensors_are_the_processors_own(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor, drawn = preprocessor_of(kind), random.Random(kind)
    encoder, media_inputs = build_encoder(preprocessor), MediaInputs(preprocessor)
    for number in range(12):
        pictures = [picture(drawn.randint(5, 400), drawn.randint(5, 400), seed=number) for _ in range(1 + number % 3)]
        row = conversation(
            user("What? ", *pictures, " 什么?"),
            assistant("A."),
            user(pictures[0], "Again?"),
            assistant("B."),
            row=number,
        )

        encoded, own = encoder.encode(row), own_call(preprocessor, row)

        assert encoded.input_ids.tolist() == own["input_ids"][0].tolist()
        made = media_inputs([MediaRow(tuple((media, row.source) for media in row.media()))])
        assert set(made) == set(own) - {"input_ids", "attention_mask"}
        for name, tensor in made.items():
            assert torch.equal(tensor, own[name]), name


def test_pictures_are_numbered_over_the_whole_conversation(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("minicpmv_4_5")
    row = conversation(
        user(picture(50, 50), "A?"), assistant("B."), user("C ", picture(120, 250), picture(50, 50)), assistant("D.")
    )

    encoded = build_encoder(preprocessor).encode(row)

    image, cell = f"<image>{RUN}</image>", f"<slice>{RUN}</slice>"
    text = text_of(preprocessor, encoded)
    assert f"user\n<image_id>0</image_id>{image}\nA?<|im_end|>" in text
    assert f"user\nC \n<image_id>1</image_id>{image}{cell}\n{cell}\n<image_id>2</image_id>{image}<|im_end|>" in text
    assert supervised_text(preprocessor, encoded) == "B.<|im_end|>D.<|im_end|>"


def test_more_slices_only_where_the_settings_say_so(model_folder: ModelFolder) -> None:
    row = conversation(user(picture(500, 500), "What?"), assistant("A."))

    def num_runs(**settings: int) -> int:
        preprocessor = read_preprocessor(model_folder("minicpmv_4_5"), media=MediaSettings(**settings))
        return text_of(preprocessor, build_encoder(preprocessor).encode(row)).count(RUN)

    assert num_runs() == 5  # an overview and the published 4 slices
    assert num_runs(max_slice_nums=1) == 1
    assert num_runs(max_slice_nums=9) == 10
    assert num_runs(max_slice_nums=25) == 21  # the picture has the area of 20 slices
    assert num_runs(max_slice_nums=25, image_max_pixels=112 * 112) == 1
    assert num_runs(image_min_pixels=4000 * 4000, max_slice_nums=2) == 3


def test_pixels_are_only_given_up_when_asked(model_folder: ModelFolder) -> None:
    large = picture(500, 500)
    row = conversation(user(large, "What?"), assistant("A."))
    pixels = {}
    for name, settings in {"own": MediaSettings(), "smaller": MediaSettings(image_max_pixels=200 * 200)}.items():
        preprocessor = read_preprocessor(model_folder("minicpmv_4_5"), media=settings)
        media = MediaInputs(preprocessor)([MediaRow(((large, row.source),))])
        assert int(media["tgt_sizes"].prod(dim=1).sum()) == len(media["pixel_values"])
        encoded = build_encoder(preprocessor).encode(row)
        assert text_of(preprocessor, encoded).count(RUN) == len(media["tgt_sizes"])
        pixels[name] = media["pixel_values"]

    whole = preprocessor.processor.image_processor.cut(opened(large))
    assert torch.equal(pixels["own"], whole.patches)
    shrunk = preprocessor.processor.image_processor.cut(opened(large).resize((200, 200)))
    assert pixels["smaller"].shape == shrunk.patches.shape


@pytest.mark.parametrize("kind", KINDS)
def test_marks_that_a_row_spells_stay_text(kind: str, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of(kind)
    spelled = "What is <unk>, </image>, (<image>./</image>) or <image_id>0</image_id>?"
    row = conversation(user(picture(50, 50), spelled), assistant("<slice> of <unk>"))

    encoded = build_encoder(preprocessor).encode(row)

    marks = preprocessor.tokenizer.convert_tokens_to_ids(["<unk>", "<image>", "</image>", "<slice>", "<image_id>"])
    counts = [int((encoded.input_ids == mark).sum()) for mark in marks]
    assert counts == [4, 1, 1, 0, 1]
    assert spelled in text_of(preprocessor, encoded)
    assert supervised_text(preprocessor, encoded) == "<slice> of <unk><|im_end|>"


@pytest.mark.parametrize("cutoff_len", range(24, 140, 4))
def test_a_limit_never_cuts_inside_a_picture(cutoff_len: int, preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("minicpmv_4_5")
    row = conversation(
        user(picture(250, 250), "What is in the picture? There are two red squares on the left."),
        assistant("A red square."),
        user("And here? ", picture(50, 50)),
        assistant("Nothing is left."),
    )

    try:
        encoded = build_encoder(preprocessor, cutoff_len=cutoff_len).encode(row)
    except RowTooLongError:
        return
    assert len(encoded.input_ids) <= cutoff_len
    text = text_of(preprocessor, encoded)
    media = MediaInputs(preprocessor)([MediaRow(tuple((media, row.source) for media in encoded.media))])
    assert text.count("<unk>") == 4 * len(media.get("tgt_sizes", []))
    assert text.count(RUN) == text.count("<image>") + text.count("<slice>") == len(media.get("tgt_sizes", []))


ROWS = {
    "a picture that no turn names": (
        {"image": "wide.png", "conversations": ["How many?", "Two."]},
        "<|im_start|>user\n<image_id>0</image_id>{wide}\nHow many?<|im_end|>",
    ),
    "pictures named inside the text": (
        {
            "image": {"<image_00>": "wide.png", "<image_01>": "small.png"},
            "conversations": ["<image_01> or <image_00>?", "1"],
        },
        "<|im_start|>user\n<image_id>0</image_id>{small}\n or \n<image_id>1</image_id>{wide}\n?<|im_end|>",
    ),
    "text alone": ({"conversations": ["Hi", "Hello."]}, "<|im_start|>user\nHi<|im_end|>"),
    "a system message": (
        {"image": "small.png", "conversations": ["<image>\nHi", "Hello."], "system": "Be brief."},
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image_id>0</image_id>{small}\nHi<|im_end|>",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_in_the_models_own_format(name: str, preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    given, expected = ROWS[name]
    opened(picture(250, 120)).save(tmp_path / "wide.png")
    opened(picture(50, 50)).save(tmp_path / "small.png")
    preprocessor = preprocessor_of("minicpmv_4_5")
    roles = ["user", "assistant"]
    messages = [{"role": role, "content": text} for role, text in zip(roles, given["conversations"], strict=True)]
    if "system" in given:
        messages = [{"role": "system", "content": given["system"]}, *messages]
    row = {**json.loads(json.dumps(given)), "conversations": messages}
    layout = Layout("minicpmv", Columns(messages="conversations", images="image"), media_folder=tmp_path)

    encoded = build_encoder(preprocessor).encode(read_minicpmv(row, layout))

    small = f"<image>{RUN}</image>"
    wide = f"{small}<slice>{RUN}</slice><slice>{RUN}</slice>"
    assert text_of(preprocessor, encoded).startswith(expected.format(small=small, wide=wide))
    assert supervised_text(preprocessor, encoded) == f"{given['conversations'][1]}<|im_end|>"


def test_the_bundled_template_leaves_pictures_where_they_stand(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("minicpmv_4_5")
    row = conversation(user("See ", picture(50, 50), " and", picture(50, 50)), assistant("Two."))

    encoded = build_encoder(preprocessor, template="minicpm_v").encode(row)

    first, second = (f"<image_id>{number}</image_id><image>{RUN}</image>" for number in range(2))
    assert text_of(preprocessor, encoded) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\nSee {first} and{second}<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n"
    )


def test_a_system_message_may_hold_a_picture(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("minicpmv_2_6")
    system = Message("system", (picture(50, 50), Text("This is you.")))

    encoded = build_encoder(preprocessor).encode(conversation(system, user("Who?"), assistant("I.")))

    assert f"system\n<image_id>0</image_id><image>{RUN}</image>\nThis is you.<|im_end|>" in text_of(
        preprocessor, encoded
    )
