from __future__ import annotations

from pathlib import Path

from tunesmith.export.files import copy_configs, copy_other_files, copy_preprocessing

KEPT = [
    "config.json",
    "tokenizer.json",
    "README.md",
    "modeling_special.py",
    "assets/voice.pt",
    "assets/inner/list.bin",
]
LEFT = [
    "model.safetensors",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "model.gguf",
    "optimizer.pt",
    "original/consolidated.00.pth",
    ".cache/huggingface/x",
]


def write(folder: Path, names: list[str], text: str = "") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text or name, encoding="utf-8")
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_every_file_but_the_weights_goes_along_unchanged(tmp_path: Path) -> None:
    base = write(tmp_path / "base", KEPT + LEFT)
    copy_other_files(base, tmp_path / "out")
    assert names_in(tmp_path / "out") == sorted(KEPT)
    assert all((tmp_path / "out" / name).read_bytes() == (base / name).read_bytes() for name in KEPT)


def test_links_of_a_hub_cache_become_files(tmp_path: Path) -> None:
    blob = write(tmp_path / "blobs", ["abc"]) / "abc"
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").symlink_to(blob)
    copy_other_files(base, tmp_path / "out")
    assert not (tmp_path / "out/config.json").is_symlink()
    assert (tmp_path / "out/config.json").read_text() == "abc"


def test_the_records_of_a_run_stay_behind(tmp_path: Path) -> None:
    records = ["run.yaml", "manifest.json", "metrics.jsonl", "training_loss.png", "checkpoints/step-1/config.json"]
    records += ["status.json", "log.txt", "logs/attempt-0/rank-1.log", "tensorboard/events"]
    copy_other_files(write(tmp_path / "run", [*KEPT, *records]), tmp_path / "out")
    assert names_in(tmp_path / "out") == sorted(KEPT)


def test_a_runs_tokenizer_replaces_the_bases(tmp_path: Path) -> None:
    out = write(tmp_path / "out", ["tokenizer.json", "merges.txt", "config.json"], "base")
    run = write(tmp_path / "run", ["tokenizer.json", "tokenizer_config.json", "config.json"], "run")
    copy_preprocessing(run, out)
    assert names_in(out) == ["config.json", "tokenizer.json", "tokenizer_config.json"]
    assert (out / "tokenizer.json").read_text() == "run"
    assert (out / "config.json").read_text() == "base"
    copy_configs(run, out)
    assert (out / "config.json").read_text() == "run"
