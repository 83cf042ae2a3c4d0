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
from tunesmith.data.hub import HubAccess, HubPlace, hub_access, iterate_hub_rows
from tunesmith.errors import DataError, MissingExtraError

LOAD = """
import json, sys
from tunesmith.config.data import DataSettings
from tunesmith.config.model import ModelSettings
from tunesmith.data.hub import hub_access
from tunesmith.data.rows import load_conversations
from tunesmith.errors import DataError
try:
    access = hub_access(ModelSettings(hf_hub_token="secret"))
    rows = load_conversations([sys.argv[1]], DataSettings(dataset_dir=sys.argv[2]), access=access)
except DataError as error:
    sys.exit(str(error))
print(json.dumps([[str(c.source), [[m.role, m.text] for m in c.messages], sum(1 for _ in c.media())]
                  for c in rows.conversations]))
"""


def load(name: str, *, endpoint: str, folder: Path, dataset_dir: str = "ONLINE") -> subprocess.CompletedProcess[str]:
    """A process of its own, because the hub's address is read when its client is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", LOAD, name, dataset_dir]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_rows_come_from_a_hub_with_the_token(tmp_path: Path) -> None:
    hub = Hub("org/rows", "rows.jsonl", b'{"question": "q", "reply": "a"}\n')
    columns = {"prompt": "question", "response": "reply"}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"hf_hub_url": "org/rows", "columns": columns}}))
    with serving(hub):
        done = load("mine", endpoint=hub.endpoint, folder=tmp_path, dataset_dir=".")
    assert json.loads(done.stdout) == [["huggingface:org/rows [train], row 0", [["user", "q"], ["assistant", "a"]], 0]]
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
    with serving(Hub("org/pictures", "rows.parquet", (tmp_path / "rows.parquet").read_bytes())) as hub:
        done = load("org/pictures", endpoint=hub.endpoint, folder=tmp_path)
    source = "huggingface:org/pictures [train], row 0"
    assert json.loads(done.stdout) == [[source, [["user", "?"], ["assistant", "black"]], 1]]


def test_a_repository_that_is_not_there_is_named_with_the_cures(tmp_path: Path) -> None:
    with serving(Hub("org/rows", "rows.jsonl", b"")) as hub:
        done = load("org/other", endpoint=hub.endpoint, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("huggingface:org/other [train] cannot be loaded") == 1
    for cure in ("HF_ENDPOINT", "USE_MODELSCOPE_HUB=1", "give their path"):
        assert cure in done.stderr


@pytest.mark.skipif(os.environ.get("HF_HUB_OFFLINE") != "1", reason="HF_HUB_OFFLINE is not 1")
def test_an_offline_hub_is_named_with_the_cures() -> None:
    with pytest.raises(DataError, match=r"(?s)org/never-downloaded .*cannot be loaded: .*HF_ENDPOINT"):
        list(iterate_hub_rows(HubPlace("huggingface", "org/never-downloaded"), HubAccess()))


@pytest.mark.skipif(extras.is_installed("modelscope"), reason="modelscope is installed")
def test_modelscope_needs_its_package() -> None:
    with pytest.raises(
        MissingExtraError, match=r"org/rows on ModelScope needs .*pip install 'tunesmith\[modelscope\]'"
    ):
        list(iterate_hub_rows(HubPlace("modelscope", "org/rows"), HubAccess()))


def test_tokens_come_from_the_settings_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "from-environment")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-environment")
    access = hub_access(ModelSettings(hf_hub_token="from-settings", cache_dir="cache"))
    assert access == HubAccess("cache", "from-settings", "ms-environment")
    assert "from-settings" not in repr(access)
