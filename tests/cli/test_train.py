"""`tunesmith train --dry-run`; training itself is tested in tests/train and tests/journeys."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tunesmith.cli.main import main
from tunesmith.config.read import load_settings


def test_a_dry_run_prints_the_settings_without_secrets_and_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "model_name_or_path: base\ndataset: a\nlearning_rate: 1e-4\nhf_hub_token: hf_private\noverwrite_cache: true\n"
    )
    words = ["train", str(path), "--output_dir", str(tmp_path / "run"), "lora_r=16", "--dry-run"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "hf_private" not in printed.out + printed.err
    assert not (tmp_path / "run").exists()
    flat = yaml.safe_load(printed.out)
    assert (flat["learning_rate"], flat["lora_rank"], flat["dataset"]) == (1e-4, 16, ["a"])
    (tmp_path / "again.yaml").write_text(printed.out)
    assert load_settings(tmp_path / "again.yaml").tuning.lora_rank == 16


def test_a_dry_run_says_which_processes_would_be_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "model_name_or_path=a", "dataset=b", f"output_dir={tmp_path}/run", "use_cpu=true", "--dry-run"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "# trains in this process (use_cpu)"
    monkeypatch.setenv("NPROC_PER_NODE", "3")
    hosts = ["--nnodes", "2", "--node_rank", "1", "--master_addr", "gpu-a"]
    assert main([*words, *hosts]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "# starts 3 processes (nproc: 3) on each of 2 hosts, which meet at gpu-a:29500 as host 1 (static)"
    )
    assert main([*words, "--nnodes", "2"]) == 2
    assert capsys.readouterr().err == (
        "error: nnodes: 2: hosts must know where they meet; set master_addr to host 0's name (MASTER_ADDR)\n"
    )
