"""Placeholders and media, and the two formats that name one image a row: MiniCPM-V's and LLaVA's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunesmith.chat.message import Media, Part, Text
from tunesmith.data.formats.layout import OPENAI_TAGS, Columns, Layout
from tunesmith.data.formats.llava import read_llava
from tunesmith.data.formats.minicpmv import read_minicpmv
from tunesmith.data.formats.sharegpt import read_sharegpt
from tunesmith.data.problem import RowError

A, B = Media("image", b"a"), Media("image", b"b")


def sharegpt(*texts: str, **columns: Any) -> dict[str, Any]:
    roles = ["human", "gpt"] * len(texts)
    return {
        "conversations": [{"from": role, "value": text} for role, text in zip(roles, texts, strict=False)],
        **columns,
    }


def minicpmv(*texts: str, **columns: Any) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(texts)
    return {
        "conversations": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)],
        **columns,
    }


IMAGES = Layout("sharegpt", Columns(images="images"), expects_media=frozenset({"image"}))


def test_images_go_to_their_placeholders_in_order_over_all_turns() -> None:
    row = sharegpt("<image>What? <image>", "A cat.", "And<image>now?", "A dog.", images=[b"a", b"b", b"a"])
    messages = read_sharegpt(row, IMAGES).messages
    assert messages[0].parts == (A, Text("What? "), B)
    assert messages[2].parts == (Text("And"), A, Text("now?"))


def test_one_image_may_stand_without_a_list() -> None:
    assert read_sharegpt(sharegpt("<image>?", "A cat.", images=b"a"), IMAGES).messages[0].parts == (A, Text("?"))


@pytest.mark.parametrize(
    ("text", "images", "reason"),
    [
        ("<image>?", [], "wrong number of images: the text has 1 <image> and the row has 0 images"),
        ("<image>?", None, "the text has 1 <image> and the row has 0 images"),
        ("?", [b"a"], "the text has 0 <image> and the row has 1 image"),
        ("<image><image>", [b"a"], "the text has 2 <image> and the row has 1 image"),
        ("<image>", [""], "wrong type: an image is empty text"),
        ("<image>", [{"bytes": None, "path": None}], "wrong type: an image is an object"),
    ],
)
def test_a_dataset_with_an_images_column_must_match(text: str, images: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_sharegpt(sharegpt(text, "yes", images=images), IMAGES)
    assert reason in str(caught.value)


def test_a_placeholder_in_a_system_prompt_is_text() -> None:
    row = {
        "conversations": [
            {"from": "system", "value": "You see an <image>."},
            *sharegpt("<image>?", "yes")["conversations"],
        ]
    }
    messages = read_sharegpt({**row, "images": [b"a"]}, IMAGES).messages
    assert messages[0].parts == (Text("You see an <image>."),)


def test_paths_are_looked_up_in_the_media_folder_then_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "in.png").touch()
    (tmp_path / "beside.png").touch()
    monkeypatch.chdir(tmp_path)
    layout = Layout("sharegpt", Columns(images="images"), media_folder=tmp_path / "media")
    row = sharegpt("<image><image>", "yes", images=["in.png", "beside.png"])
    parts = read_sharegpt(row, layout).messages[0].parts
    assert parts == (Media("image", str(tmp_path / "media" / "in.png")), Media("image", "beside.png"))
    with pytest.raises(RowError, match=r"missing image file: .*media/gone\.png does not exist"):
        read_sharegpt(sharegpt("<image>", "yes", images=["gone.png"]), layout)
    with pytest.raises(RowError, match="missing image file"):
        read_sharegpt(sharegpt("<image>", "yes", images=["no such name " * 500]), layout)


def test_media_that_are_no_paths_stay_as_they_are() -> None:
    base64 = "iVBORw0KGgo" * 10
    given = ["https://x.org/a.png", "data:image/png;base64,AAAA", b"png", {"url": "http://x.org/b.png"}, base64]
    parts = read_sharegpt(sharegpt("<image>" * 5, "yes", images=given), IMAGES).messages[0].parts
    assert parts == (
        Media("image", "https://x.org/a.png"),
        Media("image", "data:image/png;base64,AAAA"),
        Media("image", b"png"),
        Media("image", "http://x.org/b.png"),
        Media("image", f"data:application/octet-stream;base64,{base64}"),
    )


def test_members_of_archives_are_looked_up_by_their_archive(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").touch()
    layout = replace(IMAGES, media_folder=tmp_path)
    row = sharegpt("<image>", "yes", images=["shard.tar::a/b.jpg"])
    assert read_sharegpt(row, layout).messages[0].parts == (Media("image", f"{tmp_path}/shard.tar::a/b.jpg"),)
    with pytest.raises(RowError, match=r"missing image file: .*gone\.tar::a\.jpg does not exist"):
        read_sharegpt(sharegpt("<image>", "yes", images=["gone.tar::a.jpg"]), layout)


ALL_KINDS = Layout(
    "sharegpt",
    Columns(images="images", videos="videos", audios="audios"),
    expects_media=frozenset({"image", "video", "audio"}),
)


def test_videos_audio_clips_and_images_each_take_their_own_placeholders(tmp_path: Path) -> None:
    for name in ("1.mp4", "1.wav", "1.png", "2.png"):
        (tmp_path / name).touch()
    row = sharegpt(
        "<video>?<audio><image><video>", "yes", videos=["1.mp4", ["1.png", "2.png"]], audios="1.wav", images=[b"a"]
    )
    assert read_sharegpt(row, replace(ALL_KINDS, media_folder=tmp_path)).messages[0].parts == (
        Media("video", str(tmp_path / "1.mp4")),
        Text("?"),
        Media("audio", str(tmp_path / "1.wav")),
        A,
        Media("video", (str(tmp_path / "1.png"), str(tmp_path / "2.png"))),
    )


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"videos": []}, "wrong number of videos: the text has 1 <video> and the row has 0 videos"),
        ({"videos": ["gone.mp4"]}, "missing video file: gone.mp4 does not exist"),
        ({"videos": [[]]}, "wrong type: a video is an empty list"),
        ({"videos": [["gone.png"]]}, "missing image file: gone.png does not exist"),
        ({"videos": [[b"png"]]}, "wrong type: a video's frames are bytes"),
        ({"videos": [5]}, "wrong type: a video is a number"),
        ({"videos": [b"mp4"], "audios": [["a.wav"]]}, "wrong type: an audio clip is a list"),
        (
            {"videos": [b"mp4"], "audios": [{"array": [0.1], "sampling_rate": 8}]},
            "wrong type: an audio clip is an object",
        ),
    ],
)
def test_videos_and_audio_clips_that_cannot_be_used_say_why(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_sharegpt(sharegpt("<video>", "yes", **columns), ALL_KINDS)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "image", "parts"),
    [
        (("<image>\nHow many?", "Two."), b"a", (A, Text("\nHow many?"))),
        (("How many?", "Two."), b"a", (A, Text("\nHow many?"))),
        (("How many?", "Two."), {"<image>": b"a"}, (A, Text("\nHow many?"))),
        (("How many?", "Two."), {"bytes": b"a", "path": "a.png"}, (A, Text("\nHow many?"))),
        (
            ("Is <image_01> like <image_00>?", "Yes."),
            {"<image_00>": b"a", "<image_01>": b"b"},
            (Text("Is "), B, Text(" like "), A, Text("?")),
        ),
        (("<image_00> and <image_00>", "Same."), {"<image_00>": b"a"}, (A, Text(" and "), A)),
        (("Just text", "Yes."), None, (Text("Just text"),)),
    ],
)
def test_minicpmv_images_by_path_and_by_name(texts: tuple[str, ...], image: Any, parts: tuple[Part, ...]) -> None:
    assert read_minicpmv(minicpmv(*texts, image=image), Layout("minicpmv")).messages[0].parts == parts


def test_minicpmv_takes_placeholders_in_later_turns_and_system_messages() -> None:
    row = minicpmv("Hi", "Hello", "<image>?", "A cat.", image=b"a")
    row["conversations"].insert(0, {"role": "system", "content": "s"})
    messages = read_minicpmv(row, Layout("minicpmv")).messages
    assert [message.parts for message in messages[:4]] == [
        (Text("s"),),
        (Text("Hi"),),
        (Text("Hello"),),
        (A, Text("?")),
    ]


@pytest.mark.parametrize(
    ("text", "image", "reason"),
    [
        ("<image_07>", {"<image_00>": b"a"}, "the text names <image_07>, which `image` does not hold"),
        ("<image_00>", {"<image_00>": b"a", "<image_01>": b"b"}, "holds <image_01>, which the text does not name"),
        ("<image><image>", b"a", "the text has 2 <image> and the row has 1 image"),
        ("<image>", None, "the text has 1 <image> and the row has 0 images"),
    ],
)
def test_minicpmv_images_must_match(text: str, image: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_minicpmv(minicpmv(text, "yes", image=image), Layout("minicpmv", tags=OPENAI_TAGS))
    assert reason in str(caught.value)


def test_llava_rows_with_and_without_an_image() -> None:
    assert read_llava(sharegpt("What?\n<image>", "A cat.", image=b"a"), Layout("llava")).messages[0].parts == (
        Text("What?\n"),
        A,
    )
    assert read_llava(sharegpt("Hi", "Hello"), Layout("llava")).messages[0].parts == (Text("Hi"),)
    with pytest.raises(RowError, match="the text has 0 <image> and the row has 1 image"):
        read_llava(sharegpt("What?", "A cat.", image=b"a"), Layout("llava"))
