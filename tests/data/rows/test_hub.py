"""Datasets of a hub: a real server on this machine, and what is said where none can be reached."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.data.hub_server import Hub, serving
from tunesmith import extras
from tunesmith.config.model import ModelSettings
from tunesmith.data.rows.hub import HubAccess, HubPlace, hub_access, list_hub_files, load_hub_files
from tunesmith.errors import DataError, MissingExtraError

LOAD = """
import json, sys
from tunesmith.config.data import DataSettings
from tunesmith.config.model import ModelSettings
from tunesmith.config.settings import Settings
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.errors import DataError
name, dataset_dir, streaming = sys.argv[1:]
try:
    data = DataSettings(dataset_dir=dataset_dir, streaming=streaming == "streaming")
    (dataset,) = open_datasets([name], Settings(data=data, model=ModelSettings(hf_hub_token="secret")))
    for block in dataset.blocks():
        found = [dataset.conversation(ref) for ref in block.refs]
        print(json.dumps([[str(c.source), [[m.role, m.text] for m in c.messages], sum(1 for _ in c.media())]
                          for c in found]), flush=True)
        if sys.stdin.readline() == "stop\\n":
            break
except DataError as error:
    sys.exit(str(error))
"""


def load(
    name: str, *, endpoint: str, folder: Path, dataset_dir: str = "ONLINE", how: str = "whole", typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """The rows block by block, read by a process of its own: the hub's address is taken when its client is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", LOAD, name, dataset_dir, how]
    return subprocess.run(
        command, env=environment, cwd=folder, input=typed, capture_output=True, text=True, check=False
    )


def test_rows_come_from_a_hub_with_the_token(tmp_path: Path) -> None:
    hub = Hub("org/rows", {"rows.jsonl": b'{"question": "q", "reply": "a"}\n'})
    columns = {"prompt": "question", "response": "reply"}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"hf_hub_url": "org/rows", "columns": columns}}))
    with serving(hub):
        done = load("mine", endpoint=hub.endpoint, folder=tmp_path, dataset_dir=".")
    assert json.loads(done.stdout) == [
        ["huggingface:org/rows/rows.jsonl, row 0", [["user", "q"], ["assistant", "a"]], 0]
    ]
    assert "Bearer secret" in hub.tokens


def test_images_of_a_hub_stay_encoded_bytes(tmp_path: Path) -> None:
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature

    png = io.BytesIO()
    Image.new("RGB", (3, 2)).save(png, "PNG")
    message = {"role": Value("string"), "content": Value("string")}
    table = Dataset.from_dict(
        {
            "messages": [[{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "black"}]],
            "images": [[{"bytes": png.getvalue(), "path": None}]],
        },
        features=Features({"messages": [message], "images": List(ImageFeature())}),
    )
    table.to_parquet(tmp_path / "rows.parquet")
    with serving(Hub("org/pictures", {"rows.parquet": (tmp_path / "rows.parquet").read_bytes()})) as hub:
        done = load("org/pictures", endpoint=hub.endpoint, folder=tmp_path)
    source = "huggingface:org/pictures [train], row 0"
    assert json.loads(done.stdout) == [[source, [["user", "?"], ["assistant", "black"]], 1]]


def parts(count: int) -> dict[str, bytes]:
    """Files of one row each, whose columns differ in type from file to file."""
    return {
        f"train-{n}.jsonl": json.dumps({"question": f"q{n}", "answer": f"a{n}", "extra": [n, "x"][n % 2]}).encode()
        for n in range(count)
    }


def test_rows_of_several_files_may_differ_in_their_types(tmp_path: Path) -> None:
    with serving(Hub("org/rows", {**parts(3), "test-0.jsonl": b"{}"})) as hub:
        done = load("org/rows", endpoint=hub.endpoint, folder=tmp_path, typed="\n\n\n")
    assert [json.loads(line)[0][1][0][1] for line in done.stdout.splitlines()] == ["q0", "q1", "q2"]


def test_a_stream_downloads_a_file_when_it_is_due_and_only_once(tmp_path: Path) -> None:
    with serving(Hub("org/rows", parts(3))) as hub:
        first = load("org/rows", endpoint=hub.endpoint, folder=tmp_path, how="streaming", typed="stop\n")
        assert hub.given == ["train-0.jsonl"]
        rest = load("org/rows", endpoint=hub.endpoint, folder=tmp_path, how="streaming", typed="\n\n\n")
    assert json.loads(first.stdout)[0][0] == "huggingface:org/rows/train-0.jsonl, row 0"
    assert len(rest.stdout.splitlines()) == 3
    assert hub.given == [f"train-{n}.jsonl" for n in range(3)]


def test_a_part_of_a_split_of_a_parquet_file(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list([{"question": f"q{n}", "answer": "a"} for n in range(10)]).to_parquet(tmp_path / "rows.parquet")
    columns = {"prompt": "question", "response": "answer"}
    entry = {"hf_hub_url": "org/rows", "split": "train[40%:60%]", "columns": columns}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    with serving(Hub("org/rows", {"rows.parquet": (tmp_path / "rows.parquet").read_bytes()})) as hub:
        done = load("mine", endpoint=hub.endpoint, folder=tmp_path, dataset_dir=".")
    assert [row[1][0][1] for row in json.loads(done.stdout)] == ["q4", "q5"]


def test_files_that_are_not_read_and_splits_that_are_not_there_are_named(tmp_path: Path) -> None:
    with serving(Hub("org/rows", {"train.jsonl.zst": b"x"})) as hub:
        done = load("org/rows", endpoint=hub.endpoint, folder=tmp_path, how="streaming")
    assert "keeps its rows in files like hf://datasets/org/rows@" in done.stderr
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"hf_hub_url": "org/rows", "split": "dev"}}))
    with serving(Hub("org/rows", parts(1))) as hub:
        done = load("mine", endpoint=hub.endpoint, folder=tmp_path, dataset_dir=".", how="streaming")
    assert "[dev] has no files for this split (it has train)" in done.stderr


def test_a_repository_that_is_not_there_is_named_with_the_cures(tmp_path: Path) -> None:
    with serving(Hub("org/rows", {"rows.jsonl": b""})) as hub:
        done = load("org/other", endpoint=hub.endpoint, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("huggingface:org/other [train] cannot be loaded") == 1
    for cure in ("HF_ENDPOINT", "USE_MODELSCOPE_HUB=1", "give their path"):
        assert cure in done.stderr


@pytest.mark.skipif(os.environ.get("HF_HUB_OFFLINE") != "1", reason="HF_HUB_OFFLINE is not 1")
def test_an_offline_hub_is_named_with_the_cures() -> None:
    with pytest.raises(DataError, match=r"(?s)org/never-downloaded .*cannot be loaded: .*HF_ENDPOINT"):
        load_hub_files(HubPlace("huggingface", "org/never-downloaded"), HubAccess())


@pytest.mark.skipif(extras.is_installed("modelscope"), reason="modelscope is installed")
def test_modelscope_needs_its_package() -> None:
    with pytest.raises(
        MissingExtraError, match=r"org/rows on ModelScope needs .*pip install 'tunesmith\[modelscope\]'"
    ):
        list_hub_files(HubPlace("modelscope", "org/rows"), HubAccess())


def test_tokens_come_from_the_settings_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "from-environment")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-environment")
    access = hub_access(ModelSettings(hf_hub_token="from-settings", cache_dir="cache"))
    assert access == HubAccess("cache", "from-settings", "ms-environment")
    assert "from-settings" not in repr(access)
