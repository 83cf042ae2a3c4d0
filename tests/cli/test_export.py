from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.export.adapters import write_adapter
from tunesmith.cli.main import main


@pytest.fixture(scope="module")
def adapter(qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(qwen2_folder, tmp_path_factory.mktemp("adapter") / "lora")


def test_a_yaml_as_llama_factory_users_have_it(
    qwen2_folder: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "merge.yaml"
    file.write_text(
        f"model_name_or_path: {qwen2_folder}\nadapter_name_or_path: {adapter}\ntemplate: qwen\n"
        f"export_dir: {tmp_path / 'out'}\nexport_size: 5\nexport_device: cpu\nexport_legacy_format: false\n"
    )
    assert main(["export", str(file)]) == 0
    said = capsys.readouterr().out
    assert "1 weight file and" in said and "they match" in said
    assert (tmp_path / "out/model.safetensors").is_file()
    assert main(["chat", str(tmp_path / "out"), "--prompt", "hi", "max_new_tokens=3"]) == 0


def test_flags_alone_do(qwen2_folder: Path, adapter: Path, tmp_path: Path) -> None:
    words = f"--model_name_or_path {qwen2_folder} --adapter_name_or_path {adapter} --export_dir {tmp_path / 'out'}"
    assert main(["export", *words.split(), "--export_legacy_format", "True"]) == 0
    assert (tmp_path / "out/pytorch_model.bin").is_file()


def test_an_export_may_be_repeated_and_other_folders_are_safe(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"export_dir={tmp_path / 'out'}"
    assert main(["export", str(adapter), target]) == 0
    assert main(["export", str(adapter), target]) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    capsys.readouterr()
    assert main(["export", str(adapter), f"export_dir={tmp_path / 'mine'}", "overwrite_output_dir=true"]) == 2
    assert "not empty and no earlier export" in capsys.readouterr().err
    assert (tmp_path / "mine/letter.txt").read_text() == "dear"


def test_a_missing_export_dir_is_a_usage_error(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(adapter)]) == 2
    assert "export_dir is missing" in capsys.readouterr().err


def test_help_answers_at_once_without_torch() -> None:
    code = "import sys; from tunesmith.cli.main import main; main(['export', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tunesmith export") and done.stdout.endswith("False\n")
