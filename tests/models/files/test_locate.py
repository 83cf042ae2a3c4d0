"""Each download runs in a process of its own: the hub's client reads its environment variables once, on import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.hub_server import COMMIT, Hub, running_hub
from tunesmith.config.model import ModelSettings
from tunesmith.errors import MissingExtraError, ModelError
from tunesmith.models.files.locate import locate

DOWNLOAD = """
import json, sys
from tunesmith.config.model import ModelSettings
from tunesmith.errors import ModelError
from tunesmith.models.files.locate import locate
try:
    print(locate(sys.argv[1], ModelSettings(**json.loads(sys.argv[2]))))
except ModelError as error:
    print("ModelError:", error)
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def hub(qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    older = tmp_path_factory.mktemp("older")
    for name, content in {"config.json": b"{}", "pytorch_model.bin": b"weights", "tf_model.h5": b"other"}.items():
        (older / name).write_bytes(content)
    repositories = {"Qwen/tiny": qwen2_folder, "old/model": older, "meta/closed": qwen2_folder}
    with running_hub(repositories, gated=frozenset({"meta/closed"})) as hub:
        yield hub


def download(name: str, hub: Hub | None, cache: Path, settings: str = "{}", **variables: str) -> str:
    """What `locate` returns or says for a repository, with the hub's client pointed at `hub`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "USE_MODELSCOPE"))}
    environment |= {"HF_HOME": str(cache), "HF_ENDPOINT": hub.address if hub else "http://127.0.0.1:9", **variables}
    result = subprocess.run(
        [sys.executable, "-c", DOWNLOAD, name, settings], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_folder_is_itself(qwen2_folder: Path) -> None:
    assert locate(str(qwen2_folder), ModelSettings()) == qwen2_folder.resolve()


@pytest.mark.parametrize("name", ["./outputs/nothing_here", "/nowhere/model", "a/b/c", "C:\\models\\qwen"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_a_hub(name: str) -> None:
    with pytest.raises(ModelError, match="neither a folder here"):
        locate(name, ModelSettings())


def test_a_file_is_refused(qwen2_folder: Path) -> None:
    with pytest.raises(ModelError, match="is a file; give the folder"):
        locate(str(qwen2_folder / "config.json"), ModelSettings())


def test_a_repository_becomes_a_snapshot_with_every_file(hub: Hub, qwen2_folder: Path, tmp_path: Path) -> None:
    snapshot = Path(download("Qwen/tiny", hub, tmp_path))

    assert snapshot == tmp_path / "hub" / "models--Qwen--tiny" / "snapshots" / COMMIT
    assert {file.name for file in snapshot.iterdir()} == {file.name for file in qwen2_folder.iterdir()}
    assert (snapshot / "model.safetensors").read_bytes() == (qwen2_folder / "model.safetensors").read_bytes()


def test_a_second_run_downloads_nothing_and_works_offline(hub: Hub, tmp_path: Path) -> None:
    first = download("Qwen/tiny", hub, tmp_path)
    hub.served.clear()

    assert download("Qwen/tiny", hub, tmp_path) == first
    assert hub.served == []
    assert download("Qwen/tiny", None, tmp_path, HF_HUB_OFFLINE="1") == first


def test_a_download_that_breaks_off_says_so_and_goes_on_the_next_time(
    hub: Hub, qwen2_folder: Path, tmp_path: Path
) -> None:
    hub.breaks_in = "model.safetensors"
    said = download("Qwen/tiny", hub, tmp_path)
    hub.breaks_in = None

    assert said.startswith("ModelError: downloading Qwen/tiny failed")
    assert "run the same command again" in said
    snapshot = Path(download("Qwen/tiny", hub, tmp_path))
    assert (snapshot / "model.safetensors").read_bytes() == (qwen2_folder / "model.safetensors").read_bytes()


def test_cache_dir_decides_where_it_goes(hub: Hub, tmp_path: Path) -> None:
    snapshot = download("Qwen/tiny", hub, tmp_path, f'{{"cache_dir": "{tmp_path / "mine"}"}}')

    assert snapshot.startswith(str(tmp_path / "mine"))


def test_older_weights_come_only_where_there_are_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    snapshot = Path(download("old/model", hub, tmp_path))

    assert sorted(file.name for file in snapshot.iterdir()) == ["config.json", "pytorch_model.bin"]


def test_an_unknown_repository_names_both_cures(hub: Hub, tmp_path: Path) -> None:
    said = download("Qwen/absent", hub, tmp_path)

    assert said.startswith("ModelError: there is no folder 'Qwen/absent' here, and no repository of that name")
    assert "HF_TOKEN" in said


def test_an_unknown_revision_is_named(hub: Hub, tmp_path: Path) -> None:
    said = download("Qwen/tiny", hub, tmp_path, '{"model_revision": "v9"}')

    assert "has no revision 'v9': correct model_revision" in said


@pytest.mark.parametrize(
    ("settings", "variables"),
    [("{}", {"HF_TOKEN": "hf_open_sesame"}), ('{"hf_hub_token": "hf_open_sesame"}', {})],
    ids=["from the environment", "from the settings"],
)
def test_a_token_opens_a_gated_repository(hub: Hub, tmp_path: Path, settings: str, variables: dict[str, str]) -> None:
    assert "is gated: ask for access" in download("meta/closed", hub, tmp_path)

    assert (Path(download("meta/closed", hub, tmp_path, settings, **variables)) / "config.json").is_file()


def test_an_unreachable_hub_lists_the_ways_out(tmp_path: Path) -> None:
    said = download("Qwen/tiny", None, tmp_path)

    assert "Qwen/tiny is not in the cache, and the hub cannot be reached" in said
    for way in ("HF_ENDPOINT", "USE_MODELSCOPE_HUB=1", "local folder"):
        assert way in said


def test_modelscope_without_its_package_gives_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    monkeypatch.setitem(sys.modules, "modelscope", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'tunesmith\[modelscope\]'"):
        locate("Qwen/tiny", ModelSettings())
