"""dataset_info.json: entries as LLaMA-Factory reads them, names that are paths, and names that are nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tunesmith import log
from tunesmith.config.data import DataSettings
from tunesmith.data.formats.layout import Columns, Layout, Tags
from tunesmith.data.rows.catalog import find_datasets
from tunesmith.data.rows.entry import DatasetEntry
from tunesmith.data.rows.hub import HubPlace
from tunesmith.errors import UsageError


def find(folder: Path, entry: dict[str, Any], *, name: str = "mine", **settings: Any) -> DatasetEntry:
    """The entry `mine` of a dataset_info.json that holds only `entry`, beside a file rows.json."""
    (folder / "rows.json").touch()
    (folder / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    return find_datasets([name], DataSettings(dataset_dir=str(folder), **settings))[0]


def layout_of(folder: Path, entry: dict[str, Any]) -> Layout:
    found = find(folder, {"file_name": "rows.json", **entry}).layout
    assert found is not None
    return found


def test_an_entry_with_a_file_is_alpaca_and_media_stand_beside_the_catalog(tmp_path: Path) -> None:
    assert find(tmp_path, {"file_name": "rows.json"}) == DatasetEntry(
        "mine", tmp_path / "rows.json", Layout("alpaca", media_folder=tmp_path), media_folder=tmp_path
    )


def test_media_dir_moves_the_media(tmp_path: Path) -> None:
    assert find(tmp_path, {"file_name": "rows.json"}, media_dir="pictures").media_folder == Path("pictures")


def test_columns_and_tags_left_out_keep_their_documented_defaults(tmp_path: Path) -> None:
    entry = {
        "formatting": "sharegpt",
        "columns": {"images": "pictures"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    layout = layout_of(tmp_path, entry)
    assert layout.columns == Columns(images="pictures")
    assert layout.tags == Tags("role", "content", "user", "assistant", "observation", "function_call", "system")
    assert layout.expects_media == {"image"}


def test_a_default_column_that_another_key_took_is_not_read_twice(tmp_path: Path) -> None:
    columns = layout_of(tmp_path, {"columns": {"prompt": "input", "response": "target"}}).columns
    assert (columns.prompt, columns.query, columns.response) == ("input", None, "target")


def test_null_switches_a_column_off(tmp_path: Path) -> None:
    assert layout_of(tmp_path, {"columns": {"query": None}}).columns.query is None


def test_openai_entries_use_openai_names(tmp_path: Path) -> None:
    tags = layout_of(tmp_path, {"formatting": "openai"}).tags
    assert (tags.role_tag, tags.content_tag, tags.observation_tag) == ("role", "content", "tool")


@pytest.mark.parametrize(
    ("flag", "urls", "place"),
    [
        ("", {"hf_hub_url": "a/b", "ms_hub_url": "c/d"}, HubPlace("huggingface", "a/b")),
        ("1", {"hf_hub_url": "a/b", "ms_hub_url": "c/d"}, HubPlace("modelscope", "c/d")),
        ("1", {"hf_hub_url": "a/b"}, HubPlace("huggingface", "a/b")),
        ("", {"ms_hub_url": "c/d"}, HubPlace("modelscope", "c/d")),
        (
            "",
            {"hf_hub_url": "a/b", "om_hub_url": "e/f", "subset": "s", "split": "test", "folder": "g"},
            HubPlace("huggingface", "a/b", "s", "test", "g"),
        ),
    ],
)
def test_hubs_are_chosen_as_in_llama_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, urls: dict[str, Any], place: HubPlace
) -> None:
    monkeypatch.setenv("USE_MODELSCOPE_HUB", flag)
    assert find(tmp_path, urls).place == place


def test_with_online_the_names_are_repositories() -> None:
    entry = find_datasets(["org/name"], DataSettings(dataset_dir="ONLINE"))[0]
    assert entry.place == HubPlace("huggingface", "org/name")


def test_a_path_is_taken_from_the_working_directory_or_dataset_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "here.jsonl").touch()
    (tmp_path / "data" / "there.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    here, there = find_datasets(["here.jsonl", "there.jsonl"], DataSettings())
    assert here == DatasetEntry("here.jsonl", Path("here.jsonl"), media_folder=Path())
    assert there == DatasetEntry("there.jsonl", Path("data/there.jsonl"), media_folder=Path("data"))


def test_a_range_of_shards_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_datasets(["a-{0..3}.tar"], DataSettings())[0].place == Path("a-{0..3}.tar")
    assert find(tmp_path, {"file_name": "shards/a-{0..3}.tar"}).place == tmp_path / "shards" / "a-{0..3}.tar"


def test_an_unknown_name_gets_the_nearest_ones_and_the_catalog(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'mien' is not in .*dataset_info\.json.* \(did you mean mine\?\).*path"):
        find(tmp_path, {"file_name": "rows.json"}, name="mien")


def test_a_missing_folder_is_named_with_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        find_datasets(["identity"], DataSettings(dataset_dir="data"))
    assert f"dataset_dir is {tmp_path}/data, the working directory {tmp_path}" in str(caught.value)


def test_a_broken_catalog_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{\n  "a": {"file_name": "x.json"},\n}')
    with pytest.raises(UsageError, match=r"dataset_info\.json, line [23], column \d+: not JSON"):
        find_datasets(["a"], DataSettings(dataset_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("entry", "holds", "columns"),
    [
        ({"ranking": True}, "pairs", Columns(chosen="chosen", rejected="rejected")),
        ({"ranking": True, "columns": {"chosen": "good"}}, "pairs", Columns(chosen="good", rejected="rejected")),
        ({"columns": {"chosen": "a", "rejected": "b"}}, "pairs", Columns(chosen="a", rejected="b")),
        ({"columns": {"kto_tag": "label"}}, "verdicts", Columns(kto_tag="label")),
        ({"ranking": False}, None, Columns()),
    ],
)
def test_an_entry_may_say_what_its_rows_hold(
    tmp_path: Path, entry: dict[str, Any], holds: str | None, columns: Columns
) -> None:
    found = find(tmp_path, {"file_name": "rows.json", **entry})
    assert found.holds == holds
    assert found.layout is not None and found.layout.columns == columns


@pytest.mark.parametrize(
    ("entry", "error", "reason"),
    [
        ({"file_name": "gone.json"}, UsageError, "gone.json does not exist"),
        ({"columns": {}}, UsageError, "says nowhere where its rows are"),
        ({"file_name": "rows.json", "formatting": "sharegtp"}, UsageError, "expected one of alpaca, sharegpt, openai"),
        ({"file_name": "rows.json", "columns": ["a"]}, UsageError, "columns is a list (\"['a']\"); expected an object"),
        (
            {"file_name": "rows.json", "columns": {"prompt": 3}},
            UsageError,
            "columns: prompt is a number ('3'); expected the name",
        ),
        ({"file_name": "rows.json", "num_samples": 0}, UsageError, "expected a whole number above 0"),
        ({"file_name": "rows.json", "num_samples": True}, UsageError, "num_samples 'True'; expected a whole number"),
        ({"file_name": "x" * 9000}, UsageError, "xxx does not exist"),
        ({"hf_hub_url": 5}, UsageError, "hf_hub_url is a number ('5'); expected text"),
        ({"hf_hub_url": "a/b", "subset": 7}, UsageError, "subset is a number ('7'); expected text"),
        ({"om_hub_url": "a/b"}, UsageError, "om_hub_url: a/b, which is not supported"),
        ({"script_url": "x"}, UsageError, "script_url: x, which is not supported"),
        ({"cloud_file_name": "s3://x"}, UsageError, "cloud_file_name: s3://x, which is not supported"),
    ],
)
def test_entries_that_cannot_be_used_say_why(
    tmp_path: Path, entry: dict[str, Any], error: type[UsageError], reason: str
) -> None:
    with pytest.raises(error) as caught:
        find(tmp_path, entry)
    assert reason in str(caught.value)
    assert "dataset 'mine'" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[" * 100_000, "nested too deeply"), ('{"a": ' + "1" * 10_000 + "}", "a whole number with too many digits")],
)
def test_a_catalog_beyond_python_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "dataset_info.json").write_text(content)
    with pytest.raises(UsageError, match=reason):
        find_datasets(["a"], DataSettings(dataset_dir=str(tmp_path)))


def test_a_name_too_long_for_any_file_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(UsageError, match="is not a file") as caught:
        find_datasets(["x" * 9000], DataSettings(dataset_dir=str(tmp_path)))
    assert len(str(caught.value)) < 1000


def test_an_unknown_key_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("tunesmith").propagate = True
    log.forget_said()
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        layout_of(tmp_path, {"columns": {"promt": "question"}})
    assert "the key 'promt' is not known; did you mean prompt?" in caplog.text


def test_remote_catalogs_are_refused() -> None:
    with pytest.raises(UsageError, match="REMOTE:org/name is not supported"):
        find_datasets(["x"], DataSettings(dataset_dir="REMOTE:org/name"))
