"""Datasets opened by name: rows by number and as a stream, the same ones in every process, mistakes named."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.rows.given import alpaca, answers, chat, opened, refs, register, streamed, write, write_lines
from tunesmith import log
from tunesmith.chat.message import Media, RowSource
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.problem import RowError
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.data.store.address import Cursor, RowRef
from tunesmith.data.store.row_file import Unreadable
from tunesmith.errors import DataError, UsageError


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, once-messages included."""
    logger = logging.getLogger("tunesmith")
    propagates, logger.propagate = logger.propagate, True
    log.forget_said()
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        yield caplog
    logger.propagate = propagates


def test_rows_know_their_dataset_file_and_number(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    names = [
        write(tmp_path / "parts" / "a.json", alpaca(2)),
        write(tmp_path / "parts" / "b.json", alpaca(2, start=2)),
    ]
    first, second = open_datasets([str(tmp_path / "parts"), names[1]], Settings(), first_number=5)
    assert (first.num_rows, second.num_rows) == (4, 2)
    ref = first.ref(3)
    assert (ref.dataset, ref.file, ref.row) == (5, 1, 1)
    assert second.ref(0).dataset == 6
    assert first.source(ref) == first.conversation(ref).source == RowSource(names[1], 1)
    assert answers(first) == ["a0", "a1", "a2", "a3"]
    assert first.raw(ref) == second.raw(second.ref(1)) == json.dumps(alpaca(1, start=3)[0]).encode()


def test_max_samples_are_the_first_rows_and_num_samples_a_draw(tmp_path: Path) -> None:
    assert answers(register(tmp_path, {}, alpaca(5), max_samples=2)) == ["a0", "a1"]
    drawn = answers(register(tmp_path, {"num_samples": 8}, alpaca(5)))
    assert set(drawn[:5]) == {f"a{index}" for index in range(5)}
    assert len(drawn) == 8
    assert answers(register(tmp_path, {"num_samples": 8}, alpaca(5), max_samples=3)) == drawn[:3]


def test_the_first_rows_are_found_without_the_broken_rest(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(alpaca(5))[:-3])
    assert answers(opened(str(path), max_samples=4)) == ["a0", "a1", "a2", "a3"]
    with pytest.raises(DataError, match=r"\(row 4\): the file ends in the middle of the row"):
        opened(str(path))


def test_the_recognised_format_is_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "my.json", [chat("hi")])
    opened(path)
    assert f"{path}: read as openai (keys: messages)" in said.messages
    assert f"{path}: 1 rows from {path}" in said.messages


def test_bad_rows_are_errors_of_their_own(tmp_path: Path) -> None:
    rows = [*alpaca(1), {"instruction": "q", "output": ""}, "a row", None, {"instruction": "q", "output": None}]
    dataset = register(tmp_path, {}, [*rows, *alpaca(1)])
    assert answers(dataset, [dataset.ref(0), dataset.ref(5)]) == ["a0", "a0"]
    reasons = []
    for index in range(1, 5):
        with pytest.raises(RowError) as caught:
            dataset.conversation(dataset.ref(index))
        reasons.append(str(caught.value))
    assert reasons == [
        "empty answer: message 1 (assistant) has no text and no tool call",
        "wrong type: the row is the text 'a row'; expected an object",
        "wrong type: the row is null; expected an object",
        "wrong type: output is null; expected text or a message",
    ]
    assert dataset.read(dataset.ref(3)) == Unreadable("the row is null; expected an object")


def test_a_broken_line_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "q", "output": "a"}\n{"instruction": \n')
    dataset = opened(str(path))
    with pytest.raises(RowError, match="unreadable row: line 2, column 16: the line ends in the middle of the row"):
        dataset.conversation(dataset.ref(1))


@pytest.mark.parametrize("streaming", [True, False])
def test_an_empty_dataset_is_named(tmp_path: Path, streaming: bool) -> None:
    with pytest.raises(DataError, match=r"dataset mine: .*rows\.json has no rows"):
        register(tmp_path, {}, [], streaming=streaming)


def test_several_names_and_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'gone' is not in"):
        register(tmp_path, {}, alpaca(1))
        open_datasets(["mine", "gone"], Settings(data=DataSettings(dataset_dir=str(tmp_path))))


def store_of_every_kind(folder: Path) -> list[str]:
    """The same ten rows as JSON, JSONL, CSV, Parquet, Arrow, tar, a folder and a range of shards."""
    rows = alpaca(10)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "rows.parquet", row_group_size=3)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    (folder / "rows.csv").write_text("instruction,output\n" + "".join(f"q{n},a{n}\n" for n in range(10)))
    with tarfile.open(folder / "rows.tar", "w") as archive:
        for index, row in enumerate(rows):
            content = json.dumps(row).encode()
            info = tarfile.TarInfo(f"{index:02}.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    (folder / "parts").mkdir()
    for number in range(3):
        write_lines(folder / "parts" / f"{number}.jsonl", rows[number * 4 : number * 4 + 4])
    names = ["rows.parquet", "rows.arrow", "rows.csv", "rows.tar", "parts", "parts/{0..2}.jsonl"]
    return [
        write(folder / "rows.json", rows),
        write_lines(folder / "rows.jsonl", rows),
        *(str(folder / name) for name in names),
    ]


def test_every_kind_gives_the_same_rows_by_number_and_as_a_stream(tmp_path: Path) -> None:
    for name in store_of_every_kind(tmp_path):
        dataset = opened(name)
        assert answers(dataset) == [f"a{index}" for index in range(10)], name
        assert streamed(dataset) == refs(dataset), name
        assert streamed(opened(name, streaming=True)) == refs(dataset), name


def test_a_stream_goes_on_at_every_block_and_from_json(tmp_path: Path) -> None:
    for name in store_of_every_kind(tmp_path):
        dataset = opened(name, streaming=True)
        blocks = list(dataset.blocks(rows_per_block=2))
        assert blocks[0].start.num_done == 0
        for before, after in pairwise(blocks):
            assert before.end.num_done == after.start.num_done
        for number, block in enumerate(blocks):
            rest = [ref for later in blocks[number + 1 :] for ref in later.refs]
            assert streamed(dataset, Cursor(**json.loads(json.dumps(asdict(block.end)))), size=3) == rest, name


def test_a_stream_ends_with_its_limit_also_when_it_goes_on(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    dataset = register(tmp_path, {"num_samples": 7}, alpaca(10), max_samples=9, streaming=True)
    assert [ref.row for ref in streamed(dataset)] == list(range(7))
    blocks = list(dataset.blocks(rows_per_block=4))
    assert [len(block.refs) for block in blocks] == [4, 3]
    assert streamed(dataset, blocks[0].end) == streamed(dataset)[4:]
    assert streamed(dataset, blocks[1].end) == []
    assert "with streaming, num_samples takes the first rows instead of a draw" in said.text


def test_a_stream_reads_up_to_the_broken_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(alpaca(3000))[:-3])
    dataset = opened(str(path), streaming=True)
    found: list[RowRef] = []
    with pytest.raises(DataError, match=r"\(row 2999\): the file ends in the middle of the row"):
        for block in dataset.blocks():
            found += block.refs
    assert len(found) >= 2048


def test_a_dataset_is_pickled_without_what_it_has_opened(tmp_path: Path) -> None:
    dataset = opened(write(tmp_path / "rows.json", alpaca(2000)))
    content = pickle.dumps(dataset)
    assert len(content) < 4000
    assert answers(pickle.loads(content)) == answers(dataset)


def _answers_in_child(dataset: Dataset, found: list[RowRef], sink: Any) -> None:
    sink.send(answers(dataset, found))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same_rows(tmp_path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    for name in store_of_every_kind(tmp_path)[:6] if method == "fork" else [write(tmp_path / "a.json", alpaca(10))]:
        dataset = opened(name)
        expected = answers(dataset)
        source, sink = context.Pipe(duplex=False)
        child = context.Process(target=_answers_in_child, args=(dataset, refs(dataset), sink))
        child.start()
        assert source.poll(60)
        assert source.recv() == expected, name
        child.join()


def test_the_fingerprint_follows_the_rows_and_the_layout_key_the_reading(tmp_path: Path) -> None:
    def of(**settings: Any) -> str:
        return opened(str(tmp_path / "rows.json"), **settings).fingerprint()

    write(tmp_path / "rows.json", alpaca(5))
    first = of()
    assert of() == first
    assert of(max_samples=2) != first
    other_seed = Settings(training=TrainingSettings(seed=7))
    assert open_datasets([str(tmp_path / "rows.json")], other_seed)[0].fingerprint() == first
    write(tmp_path / "rows.json", alpaca(6))
    assert of() != first
    keys = [
        register(tmp_path, {"columns": columns}, alpaca(1)).layout_key
        for columns in ({}, {}, {"system": "instruction"})
    ]
    assert keys[0] == keys[1] != keys[2]


def test_columns_absent_here_and_there_and_of_differing_types_never_clash(tmp_path: Path) -> None:
    for name in ("a.png", "a.mp4"):
        (tmp_path / name).touch()
    rows = [
        chat("<image>?", images=["a.png"], n=1),
        chat("<video>?", videos=["a.mp4"], n="one"),
        chat("text only", n=[1, {"x": None}]),
        chat("<image><video>", images="a.png", videos=[["a.png", "a.png"]]),
        chat("wrong", images=7),
    ]
    frames = (str(tmp_path / "a.png"),) * 2
    expected = [
        [Media("image", str(tmp_path / "a.png"))],
        [Media("video", str(tmp_path / "a.mp4"))],
        [],
        [Media("image", str(tmp_path / "a.png")), Media("video", frames)],
    ]
    for dataset in (
        opened(write(tmp_path / "rows.json", rows)),
        opened(write_lines(tmp_path / "rows.jsonl", rows), streaming=True),
    ):
        found = streamed(dataset)
        assert [list(dataset.conversation(ref).media()) for ref in found[:4]] == expected
        with pytest.raises(RowError, match="wrong type: an image is a number"):
            dataset.conversation(found[4])


def test_encoded_media_in_parquet_and_tar_stay_as_they_are(tmp_path: Path) -> None:
    row = chat("<image><audio>")
    table = pa.Table.from_pylist([{**row, "images": [{"bytes": b"png", "path": None}], "audios": [b"wav"]}])
    pq.write_table(table, tmp_path / "rows.parquet")
    with tarfile.open(tmp_path / "rows.tar", "w") as archive:
        for name, content in (("0.json", json.dumps(row).encode()), ("0.png", b"png"), ("0.wav", b"wav")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for name in ("rows.parquet", "rows.tar"):
        dataset = opened(str(tmp_path / name))
        assert list(dataset.conversation(dataset.ref(0)).media()) == [Media("image", b"png"), Media("audio", b"wav")]


def test_a_placeholder_is_text_where_the_entry_names_no_images(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    dataset = register(tmp_path, {"formatting": "openai"}, [chat("What is <image> in HTML?", images=["a.png"])])
    assert dataset.conversation(dataset.ref(0)).messages[0].text == "What is <image> in HTML?"
    assert "rows have a column 'images' that `columns` in dataset_info.json does not name" in said.text


def test_differences_from_llama_factory_are_said_once(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    row = chat("Say {{idx}}.")
    row["messages"].insert(0, {"role": "system", "content": "s"})
    dataset = register(
        tmp_path, {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}, [row] * 3
    )
    assert [dataset.conversation(ref).messages[1].text for ref in refs(dataset)] == ["Say {{idx}}."] * 3
    notes = [message for message in said.messages if message.startswith("note: ")]
    assert len(notes) == 2
    assert "{{idx}} stays as it is" in notes[0]
    assert "`tags` leaves system_tag out" in notes[1]


def test_a_query_column_left_out_is_read_and_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    rows = [{"instruction": "Add.", "input": "1 2", "output": "3"}]
    dataset = register(tmp_path, {"columns": {"prompt": "instruction", "response": "output"}}, rows)
    assert dataset.conversation(dataset.ref(0)).messages[0].text == "Add.\n1 2"
    assert "`columns` leaves query out" in said.text


def test_a_named_question_column_that_no_row_has_is_not_replaced_by_the_input(tmp_path: Path) -> None:
    rows = [{"questions": "Add.", "input": "1 2", "output": "3"}]
    with pytest.raises(DataError, match="mine: no row has the column 'question' that"):
        register(tmp_path, {"columns": {"prompt": "question", "response": "output"}}, rows)


def test_another_named_column_that_no_row_has_is_warned_of(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    entry = {"formatting": "openai", "columns": {"messages": "messages", "system": "sys"}}
    assert register(tmp_path, entry, [chat("q")]).num_rows == 1
    assert "no row has the column 'sys' that `columns` names for system" in said.text


def test_used_rows_have_numbers_and_row_groups_beginnings(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for number in range(2):
        table = pa.Table.from_pylist(alpaca(5))
        pq.write_table(table, tmp_path / "parts" / f"{number}.parquet", row_group_size=3)
    dataset = opened(str(tmp_path / "parts"))
    assert dataset.block_starts == (0, 3, 5, 8)
    assert dataset.numbers.tolist() == list(range(10))
    drawn = register(tmp_path, {"num_samples": 4}, alpaca(9))
    assert drawn.block_starts is None
    assert [ref.row for ref in refs(drawn)] == drawn.numbers.tolist()
