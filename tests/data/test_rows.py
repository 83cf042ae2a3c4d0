"""From names to conversations: counts, bad rows listed or skipped, sampling, and what is said on the way."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tunesmith import log
from tunesmith.chat.message import Media, RowSource
from tunesmith.config.data import DataSettings
from tunesmith.data.rows import DatasetCounts, LoadedRows, load_conversations
from tunesmith.errors import DataError, NotSupportedYetError


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, once-messages included."""
    logger = logging.getLogger("tunesmith")
    propagates, logger.propagate = logger.propagate, True
    log.forget_said()
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        yield caplog
    logger.propagate = propagates


def alpaca(count: int) -> list[dict[str, Any]]:
    return [{"instruction": f"q{index}", "output": f"a{index}"} for index in range(count)]


def chat(question: str, **columns: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]
    return {"messages": messages, **columns}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text(json.dumps(rows, ensure_ascii=False))
    return str(path)


def register(folder: Path, entry: dict[str, Any], rows: list[Any]) -> DataSettings:
    write(folder / "rows.json", rows)
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "rows.json", **entry}}))
    return DataSettings(dataset_dir=str(folder))


def answers(rows: LoadedRows) -> list[str]:
    return [conversation.messages[-1].text for conversation in rows.conversations]


def test_several_datasets_follow_one_another_each_counted(tmp_path: Path) -> None:
    names = [write(tmp_path / "a.json", alpaca(3)), write(tmp_path / "b.json", alpaca(2))]
    rows = load_conversations(names, DataSettings(max_samples=2))
    assert answers(rows) == ["a0", "a1", "a0", "a1"]
    assert rows.counts == tuple(DatasetCounts(name, name, 2, 2, 0) for name in names)
    assert rows.conversations[3].source == RowSource(names[1], 1)


def test_the_recognised_format_is_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "my.json", [chat("hi")])
    load_conversations([path], DataSettings())
    assert f"{path}: read as openai (keys: messages)" in said.messages


BAD_ROWS = [
    *alpaca(1),
    {"instruction": "q", "output": ""},
    "a row",
    None,
    {"instruction": "q", "output": None},
    *alpaca(1),
]


def test_the_run_stops_with_every_bad_row_listed(tmp_path: Path) -> None:
    settings = register(tmp_path, {}, BAD_ROWS)
    with pytest.raises(DataError) as caught:
        load_conversations(["mine"], settings)
    file = tmp_path / "rows.json"
    assert str(caught.value).splitlines() == [
        "4 of 6 rows cannot be used:",
        f"  {file}, row 1: empty answer: message 1 (assistant) has no text and no tool call",
        f"  {file}, row 2: wrong type: the row is the text 'a row'; expected an object",
        f"  {file}, row 3: wrong type: the row is null; expected an object",
        f"  {file}, row 4: wrong type: output is null; expected text",
        "Correct these rows (rows count from 0), or set on_bad_row: skip to train without them.",
    ]


def test_more_than_twenty_bad_rows_are_counted_by_kind(tmp_path: Path) -> None:
    bad = [{"instruction": "q", "output": ""}] * 22 + [None] * 3
    with pytest.raises(DataError, match="and 5 more: 3 x wrong type, 2 x empty answer"):
        load_conversations(["mine"], register(tmp_path, {}, bad))


def test_skipped_rows_are_kept_as_problems_and_counted(tmp_path: Path) -> None:
    settings = register(tmp_path, {}, BAD_ROWS).model_copy(update={"on_bad_row": "skip"})
    rows = load_conversations(["mine"], settings)
    assert answers(rows) == ["a0", "a0"]
    assert [(problem.source.row, problem.kind) for problem in rows.problems] == [
        (1, "empty answer"),
        (2, "wrong type"),
        (3, "wrong type"),
        (4, "wrong type"),
    ]
    assert rows.counts[0].num_read == 6
    assert rows.counts[0].num_bad == 4


def test_a_broken_line_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "q", "output": "a"}\n{"instruction": \n')
    rows = load_conversations([str(path)], DataSettings(on_bad_row="skip"))
    assert [str(problem) for problem in rows.problems] == [
        f"{path}, row 1: unreadable row: line 2, column 16: the line ends in the middle of the row; was the file "
        "copied or downloaded completely?"
    ]


def test_no_usable_row_stops_even_where_rows_are_skipped(tmp_path: Path) -> None:
    settings = register(tmp_path, {}, [{"instruction": "q"}]).model_copy(update={"on_bad_row": "skip"})
    with pytest.raises(DataError, match="1 of 1 rows cannot be used"):
        load_conversations(["mine"], settings)


def test_an_empty_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset mine: .*rows\.json has no rows"):
        load_conversations(["mine"], register(tmp_path, {}, []))


@pytest.mark.parametrize(("num_samples", "repeats"), [(3, 1), (5, 1), (12, 3)])
def test_num_samples_draws_every_row_before_any_twice(tmp_path: Path, num_samples: int, repeats: int) -> None:
    settings = register(tmp_path, {"num_samples": num_samples}, alpaca(5))
    first = answers(load_conversations(["mine"], settings, seed=1))
    assert len(first) == num_samples
    assert len(set(first[:5])) == min(num_samples, 5)
    assert first == answers(load_conversations(["mine"], settings, seed=1))
    assert first != answers(load_conversations(["mine"], settings, seed=2))


def test_bad_images_are_bad_rows(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:2000])
    (tmp_path / "page.png").write_text("<html>")
    names = ["good.png", "cut.png", "page.png", "gone.png", "good.png"]
    rows = [chat("<image>?", images=[name]) for name in names]
    path = write(tmp_path / "rows.json", [*rows, chat("<image>?", images=[]), chat("no image")])
    loaded = load_conversations([path], DataSettings(on_bad_row="skip"))
    assert [(problem.source.row, problem.kind) for problem in loaded.problems] == [
        (1, "unreadable image"),
        (2, "unreadable image"),
        (3, "missing image file"),
        (5, "wrong number of images"),
    ]
    assert "cut.png: the image is damaged" in loaded.problems[0].detail
    assert [list(conversation.media()) for conversation in loaded.conversations] == [
        [Media("image", str(tmp_path / "good.png"))],
        [Media("image", str(tmp_path / "good.png"))],
        [],
    ]


def test_many_images_are_looked_at_side_by_side_with_the_same_result(tmp_path: Path) -> None:
    for index in range(250):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{index}.bmp")
    (tmp_path / "77.bmp").write_bytes(b"BM")
    path = write(tmp_path / "rows.json", [chat("<image>", images=[f"{index}.bmp"]) for index in range(250)])
    loaded = load_conversations([path], DataSettings(on_bad_row="skip"))
    assert [problem.source.row for problem in loaded.problems] == [77]
    assert len(loaded.conversations) == 249


def test_a_placeholder_is_text_where_the_entry_names_no_images(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    settings = register(tmp_path, {"formatting": "openai"}, [chat("What is <image> in HTML?", images=["a.png"])])
    rows = load_conversations(["mine"], settings)
    assert rows.conversations[0].messages[0].text == "What is <image> in HTML?"
    assert "rows have a column 'images' that `columns` in dataset_info.json does not name" in said.text


def test_differences_from_llama_factory_are_said_once(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    row = chat("Say {{idx}}.")
    row["messages"].insert(0, {"role": "system", "content": "s"})
    settings = register(
        tmp_path, {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}, [row] * 3
    )
    assert load_conversations(["mine"], settings).conversations[0].messages[1].text == "Say {{idx}}."
    notes = [message for message in said.messages if message.startswith("note: ")]
    assert len(notes) == 2
    assert "{{idx}} stays as it is" in notes[0]
    assert "`tags` leaves system_tag out" in notes[1]


def test_a_query_column_left_out_is_read_and_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    rows = [{"instruction": "Add.", "input": "1 2", "output": "3"}]
    settings = register(tmp_path, {"columns": {"prompt": "instruction", "response": "output"}}, rows)
    assert load_conversations(["mine"], settings).conversations[0].messages[0].text == "Add.\n1 2"
    assert "`columns` leaves query out" in said.text


def test_a_named_question_column_that_no_row_has_is_not_replaced_by_the_input(tmp_path: Path) -> None:
    rows = [{"questions": "Add.", "input": "1 2", "output": "3"}]
    settings = register(tmp_path, {"columns": {"prompt": "question", "response": "output"}}, rows)
    with pytest.raises(DataError, match="mine: no row has the column 'question' that"):
        load_conversations(["mine"], settings)


def test_another_named_column_that_no_row_has_is_warned_of(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    settings = register(
        tmp_path, {"formatting": "openai", "columns": {"messages": "messages", "system": "sys"}}, [chat("q")]
    )
    assert len(load_conversations(["mine"], settings).conversations) == 1
    assert "no row has the column 'sys' that `columns` names for system" in said.text


def test_plain_text_and_videos_refuse_the_run_with_the_dataset_named(tmp_path: Path) -> None:
    with pytest.raises(NotSupportedYetError, match=r"dataset mine is plain text .* stage: pt"):
        load_conversations(["mine"], register(tmp_path, {"columns": {"prompt": "text"}}, [{"text": "a"}]))
    path = write(tmp_path / "clips.json", [chat("hi"), chat("<video>", videos=["a.mp4"])])
    with pytest.raises(NotSupportedYetError, match=r"dataset .*clips\.json \(.*row 1\): the row has a video"):
        load_conversations([path], DataSettings(on_bad_row="skip"))
