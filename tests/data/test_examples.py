"""Rows become outcomes: the same with and without the cache, in every process and thread, and never an exception."""

from __future__ import annotations

import base64
import json
import multiprocessing
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conversations import build_encoder, picture
from tunesmith.chat.message import Media
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.cache.cached_example import CachedExample
from tunesmith.data.cache.encodings import EncodingCache, list_caches, open_cache, row_key
from tunesmith.data.encoding.encode import Encoder
from tunesmith.data.encoding.encoded import RowMedia
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def alpaca(instruction: str, output: str = "yes", **columns: Any) -> dict[str, Any]:
    return {"instruction": instruction, "input": "", "output": output, **columns}


def opened(path: Path) -> tuple[Dataset, ...]:
    return open_datasets([str(path)], Settings(data=DataSettings(media_dir=str(path.parent))))


def all_outcomes(examples: Examples, dataset: Dataset) -> list[Outcome]:
    return examples.outcomes([dataset.ref(index) for index in range(dataset.num_rows)])


def cache_for(encoder: Encoder, **settings: Any) -> EncodingCache:
    cache = open_cache(encoder, DataSettings(**settings))
    assert cache is not None
    return cache


def assert_same(left: Sequence[Outcome], right: Sequence[Outcome]) -> None:
    for ours, theirs in zip(left, right, strict=True):
        assert (ours.ref, ours.source, ours.problem, ours.cut) == (
            theirs.ref,
            theirs.source,
            theirs.problem,
            theirs.cut,
        )
        assert (ours.encoded is None) == (theirs.encoded is None)
        if ours.encoded is not None and theirs.encoded is not None:
            assert np.array_equal(ours.encoded.input_ids, theirs.encoded.input_ids)
            assert np.array_equal(ours.encoded.labels, theirs.encoded.labels)
            assert ours.encoded.media == theirs.encoded.media


MIXED = [
    alpaca("What is it?"),
    '{"instruction": "cut off',
    alpaca("long " * 100, "short"),
    alpaca("What is it?", ""),
    alpaca("What is it?"),
    alpaca("x", "word " * 200),
]


def test_every_row_has_an_outcome(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    datasets = opened(write_rows(tmp_path / "rows.jsonl", MIXED))
    encoder = build_encoder(preprocessor_of("qwen2"), cutoff_len=150)
    good, broken, cut, empty, again, last = all_outcomes(Examples(datasets, encoder), datasets[0])
    assert good.encoded is not None and good.problem is None and good.cut is None
    assert good.encoded.ref == good.ref and good.encoded.source.row == 0
    assert broken.encoded is None and broken.problem is not None and broken.problem.kind == "unreadable row"
    assert (
        cut.encoded is not None and cut.encoded.truncated and cut.cut == "text cut: the middle of a prompt's text cut"
    )
    assert empty.encoded is None or empty.encoded.num_supervised
    assert again.encoded is not None and np.array_equal(again.encoded.input_ids, good.encoded.input_ids)
    assert last.cut == "text cut: the end of an answer cut" and not last.is_dropped


def test_a_row_left_out_for_its_length_says_so(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    datasets = opened(write_rows(tmp_path / "rows.jsonl", [alpaca("long " * 100)]))
    encoder = build_encoder(preprocessor_of("qwen2"), cutoff_len=50, overlong="drop")
    (outcome,) = all_outcomes(Examples(datasets, encoder), datasets[0])
    assert outcome.is_dropped and outcome.problem is not None and "overlong: drop" in outcome.problem.detail


def test_cached_rows_are_the_same(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    datasets = opened(write_rows(tmp_path / "rows.jsonl", MIXED))
    encoder = build_encoder(preprocessor_of("qwen2"), cutoff_len=150)
    without = all_outcomes(Examples(datasets, encoder), datasets[0])
    first = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
    second = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
    assert_same(without, first)
    assert_same(without, second)
    different = {outcome.encoded.input_ids.tobytes() for outcome in without if outcome.encoded is not None}
    assert [info.num_rows for info in list_caches()] == [len(different)]


def opened_for(stage: str, path: Path) -> tuple[Dataset, ...]:
    data = DataSettings(media_dir=str(path.parent))
    return open_datasets([str(path)], Settings(data=data, training=TrainingSettings(stage=stage)))


def preference(prompt: str, chosen: str, rejected: str, **columns: Any) -> dict[str, Any]:
    return {"instruction": prompt, "chosen": chosen, "rejected": rejected, **columns}


def test_cached_pairs_are_the_same(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    for name, size in (("a.png", 56), ("b.png", 112)):
        write_picture(tmp_path / name, size, size)
    rows = [
        preference("<image><image>which?", "the first", "the second", images=["a.png", "b.png"]),
        preference("<image>" + "long " * 100, "short", "sh", images=["b.png"]),
        preference("What?", "c " * 200, "no"),
        preference("<image>what?", "c", "n", images=["missing.png"]),
    ]
    datasets = opened_for("dpo", write_rows(tmp_path / "rows.jsonl", rows))
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"), "pairs", cutoff_len=150)
    fresh = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
    recalled = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
    assert_same(fresh, recalled)
    assert [outcome.problem is None for outcome in recalled] == [True, True, True, False]
    for ours, theirs in zip(fresh[:3], recalled[:3], strict=True):
        assert ours.encoded is not None and theirs.encoded is not None
        assert ours.encoded.branches == theirs.encoded.branches != ()
    assert recalled[0].encoded is not None
    assert recalled[0].encoded.media == tuple(Media("image", str(tmp_path / name)) for name in ("a.png", "b.png"))


def test_a_pair_keeps_the_media_of_the_turns_that_are_left(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    for name, size in (("a.png", 56), ("b.png", 112)):
        write_picture(tmp_path / name, size, size)
    turns = [
        {"from": "human", "value": "<image>" + "1? " * 20},
        {"from": "gpt", "value": "one"},
        {"from": "human", "value": "<image>2?"},
    ]
    answers = {"chosen": {"from": "gpt", "value": "two"}, "rejected": {"from": "gpt", "value": "too"}}
    row = {"conversations": turns, **answers, "images": ["a.png", "b.png"]}
    datasets = opened_for("dpo", write_rows(tmp_path / "rows.jsonl", [row]))
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"), "pairs", cutoff_len=90)
    for cache in (None, cache_for(encoder), cache_for(encoder)):
        (outcome,) = all_outcomes(Examples(datasets, encoder, cache), datasets[0])
        assert outcome.cut == "turns cut: 1 of 2 exchanges cut"
        assert outcome.encoded is not None and outcome.encoded.media == (Media("image", str(tmp_path / "b.png")),)
        assert outcome.encoded.num_media_tokens == 16


def test_cached_verdicts_depend_on_the_row_before(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    def judged(prompt: str, answer: str, label: bool) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        return {"messages": messages, "label": label}

    encoder = build_encoder(preprocessor_of("qwen2"), "verdicts")
    own = judged("a?", "own", True)
    keys = []
    for name, others in (("x", [judged("b?", "other", False)]), ("y", [judged("c?", "another", False)])):
        datasets = opened_for("kto", write_rows(tmp_path / f"{name}.jsonl", [own, *others]))
        examples = Examples(datasets, encoder, cache_for(encoder))
        first, second = all_outcomes(examples, datasets[0])
        assert first.encoded is not None and second.encoded is not None
        assert (first.encoded.verdict, second.encoded.verdict) == (True, False)
        keys.append(examples.key(first.ref))
    assert keys[0] != keys[1]


def _mark(cache: EncodingCache, dataset: Dataset, outcome: Outcome) -> None:
    """Put a changed example into the cache, by which a hit can be told."""
    assert outcome.encoded is not None
    key = row_key(dataset.raw(outcome.ref), dataset.layout_key)
    cache.keep({key: CachedExample(replace(outcome.encoded, num_media_tokens=77), (), (), None)})


def test_a_row_is_found_by_its_content_wherever_it_stands(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2"))
    (dataset,) = opened(write_rows(tmp_path / "rows.jsonl", [alpaca("a"), alpaca("b")]))
    cache = cache_for(encoder)
    _mark(cache, dataset, all_outcomes(Examples([dataset], encoder), dataset)[1])
    moved = opened(write_rows(tmp_path / "others.jsonl", [alpaca("b"), alpaca("c")]))
    found, new = all_outcomes(Examples(moved, encoder, cache), moved[0])
    assert found.encoded is not None and found.encoded.num_media_tokens == 77
    assert found.source.file.endswith("others.jsonl") and found.encoded.source.row == 0
    assert new.encoded is not None and new.encoded.num_media_tokens == 0


def test_overwrite_cache_encodes_anew_once(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2"))
    (dataset,) = opened(write_rows(tmp_path / "rows.jsonl", [alpaca("a")]))
    _mark(cache_for(encoder), dataset, all_outcomes(Examples([dataset], encoder), dataset)[0])
    (anew,) = all_outcomes(Examples([dataset], encoder, cache_for(encoder, overwrite_cache=True)), dataset)
    (later,) = all_outcomes(Examples([dataset], encoder, cache_for(encoder)), dataset)
    assert anew.encoded is not None and anew.encoded.num_media_tokens == 0
    assert later.encoded is not None and later.encoded.num_media_tokens == 0


def write_picture(path: Path, width: int, height: int) -> Path:
    source = picture(width, height).source
    assert isinstance(source, bytes)
    path.write_bytes(source)
    return path


def test_a_changed_picture_is_counted_anew(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"))
    write_picture(tmp_path / "a.png", 56, 56)
    datasets = opened(write_rows(tmp_path / "rows.jsonl", [alpaca("<image>what?", images=["a.png"])]))
    counts = []
    for size in (56, 56, 112):
        if size != 56:
            write_picture(tmp_path / "a.png", size, size)
        (outcome,) = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
        assert outcome.encoded is not None
        assert outcome.encoded.media == (Media("image", str(tmp_path / "a.png")),)
        counts.append(outcome.encoded.num_media_tokens)
    assert counts == [4, 4, 16]
    (tmp_path / "a.png").unlink()
    (gone,) = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
    assert gone.problem is not None and gone.problem.kind == "missing image file"


def test_a_picture_that_is_cut_off_is_a_problem_and_not_cached(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"))
    path = write_picture(tmp_path / "a.png", 56, 56)
    path.write_bytes(path.read_bytes()[:-2000])
    datasets = opened(write_rows(tmp_path / "rows.jsonl", [alpaca("<image>what?", images=["a.png"])]))
    for _ in range(2):
        (outcome,) = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
        assert outcome.problem is not None and outcome.problem.kind == "unreadable image"


def test_a_member_of_an_archive_is_stamped_by_the_archive(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"))
    rows = write_rows(tmp_path / "rows.jsonl", [alpaca("<image>?", images=[f"{tmp_path}/a.tar::a.png"])])
    counts = []
    for size in (56, 112):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.add(write_picture(tmp_path / "a.png", size, size), "a.png")
        datasets = opened(rows)
        (outcome,) = all_outcomes(Examples(datasets, encoder, cache_for(encoder)), datasets[0])
        assert outcome.encoded is not None
        counts.append(outcome.encoded.num_media_tokens)
    assert counts == [4, 16]


def test_pictures_in_a_row_are_read_from_it_again(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"))
    sources = [picture(56, 56).source, picture(112, 56, seed=1).source]
    images = [[{"bytes": sources[0], "path": None}, {"bytes": sources[1], "path": None}]]
    columns = {"instruction": ["<image> and <image>?"], "input": [""], "output": ["yes"], "images": images}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    datasets = opened(tmp_path / "rows.parquet")
    for _ in range(2):  # made, then from the cache
        examples = Examples(datasets, encoder, cache_for(encoder))
        (outcome,) = all_outcomes(examples, datasets[0])
        assert outcome.encoded is not None and outcome.encoded.num_media_tokens == 4 + 8
        assert outcome.encoded.media == (RowMedia("image", 0), RowMedia("image", 1))
        assert [media.source for media in examples.media(outcome.encoded)] == sources


def test_pictures_that_are_left_after_a_cut_keep_their_numbers(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    def in_row(size: int) -> str:
        source = picture(size, size).source
        assert isinstance(source, bytes)
        return "data:image/png;base64," + base64.b64encode(source).decode()

    rows = [
        {
            "messages": [
                {"role": "user", "content": "<image>1?"},
                {"role": "assistant", "content": "one"},
                {"role": "user", "content": "<image>2?"},
                {"role": "assistant", "content": "two"},
            ],
            "images": [in_row(280), in_row(56)],
        }
    ]
    datasets = opened(write_rows(tmp_path / "rows.jsonl", rows))
    encoder = build_encoder(preprocessor_of("qwen2_5_vl"), mask_history=True, cutoff_len=60)
    for _ in range(2):
        examples = Examples(datasets, encoder, cache_for(encoder))
        (outcome,) = all_outcomes(examples, datasets[0])
        assert outcome.encoded is not None and outcome.cut == "turns cut: 1 of 2 exchanges cut"
        assert outcome.encoded.media == (RowMedia("image", 1),)
        assert [media.source for media in examples.media(outcome.encoded)] == [rows[0]["images"][1]]


def test_a_row_that_lost_its_pictures_is_told(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    encoder = build_encoder(preprocessor_of("qwen2"))
    datasets = opened(write_rows(tmp_path / "rows.jsonl", [alpaca("a")]))
    examples = Examples(datasets, encoder)
    (outcome,) = all_outcomes(examples, datasets[0])
    assert outcome.encoded is not None and examples.media(outcome.encoded) == ()
    with pytest.raises(DataError, match="row 0: the row has changed since it was encoded"):
        examples.media(replace(outcome.encoded, media=(RowMedia("image", 0),)))


_EXAMPLES: list[Examples] = []
"""What forked workers find as they begin."""


def _lengths(rows: Sequence[int]) -> list[int]:
    (examples,) = _EXAMPLES
    refs = [examples.datasets[0].ref(row) for row in rows]
    return [len(outcome.encoded) for outcome in examples.outcomes(refs) if outcome.encoded is not None]


def test_forked_processes_and_threads_give_the_same(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    datasets = opened(write_rows(tmp_path / "rows.jsonl", [alpaca("word " * (row % 17)) for row in range(120)]))
    encoder = build_encoder(preprocessor_of("qwen2"))
    _EXAMPLES[:] = [Examples(datasets, encoder, cache_for(encoder))]
    parts = [range(start, start + 20) for start in range(0, 120, 20)]
    alone = [_lengths(part) for part in parts[:3]]  # connections and files are open when the workers are forked
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
        forked = list(pool.map(_lengths, parts))
    with ThreadPoolExecutor(3) as pool:
        threaded = list(pool.map(_lengths, parts))
    assert forked[:3] == alone and forked == threaded
    assert [info.num_rows for info in list_caches()] == [17]
