"""Settings files on disk: YAML, JSON, run folders, and what is said where one cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.config.files import parse_json, read_file
from tunesmith.errors import UsageError


def test_json_is_read_with_lines() -> None:
    entries = parse_json('{\n  "bf16": true,\n  "learning_rate": 1e-4,\n  "dataset": "a,b"\n}', name="run.json")
    assert [(entry.key, entry.value, entry.text, entry.place) for entry in entries] == [
        ("bf16", True, "true", "run.json, line 2"),
        ("learning_rate", 1e-4, "0.0001", "run.json, line 3"),
        ("dataset", "a,b", "a,b", "run.json, line 4"),
    ]


def test_nested_json_stays_a_mapping() -> None:
    [entry] = parse_json('{"lr_scheduler_kwargs": {"num_cycles": [1, {"a": null}]}}', name="run.json")
    assert entry.value == {"num_cycles": [1, {"a": None}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "b": }', "run.json, line 2: this is not valid JSON: Expecting value"),
        ("[1, 2]", 'run.json, line 1: expected an object like {"learning_rate": 1.0e-4}'),
        ('{\n"a": 1,\n"a": 2}', "run.json, line 2: a stands there twice; keep one of the two"),
    ],
)
def test_broken_json_names_file_and_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_json(text, name="run.json")
    assert str(raised.value) == message


def test_a_run_folder_stands_for_its_run_yaml(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 7\n")
    assert [(entry.key, entry.value) for entry in read_file(tmp_path)] == [("seed", 7)]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xef\xbb\xbfseed: 7\r\nbf16: true\r\n")
    assert [entry.value for entry in read_file(tmp_path / "run.yaml")] == [7, True]


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "lora_sft.yaml").write_text("seed: 7\n")
    (tmp_path / "merge.yaml").write_text("seed: 7\n")
    with pytest.raises(UsageError) as raised:
        read_file(tmp_path / "lora_stf.yaml")
    assert str(raised.value) == (
        f"{tmp_path / 'lora_stf.yaml'} does not exist; did you mean {tmp_path / 'lora_sft.yaml'}?"
    )


def test_a_missing_folder_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*exampels \(seen from "):
        read_file(tmp_path / "exampels" / "run.yaml")


def test_a_folder_without_settings_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.yaml does not exist; .* holds no YAML file"):
        read_file(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(UsageError, match=r"run\.yaml: byte 6 is not UTF-8; save the file as UTF-8 text"):
        read_file(tmp_path / "run.yaml")
