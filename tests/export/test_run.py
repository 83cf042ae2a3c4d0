"""`export` from a source to a folder: what a user gets, and what stops it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.export.adapters import load, write_adapter
from tests.tiny import tiny_folder
from tunesmith.errors import RunError, UsageError
from tunesmith.export.run import ExportReport, export
from tunesmith.export.target import RECORD
from tunesmith.infer.source import find_source


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL with files beside it that no tool knows."""
    folder = tiny_folder("qwen2_5_vl", tmp_path_factory.mktemp("base") / "model")
    (folder / "LICENSE").write_text("do what you like")
    (folder / "assets").mkdir()
    (folder / "assets/voice.pt").write_bytes(b"\x00\x01")
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    targets = r".*\.(q_proj|down_proj|qkv)"
    return write_adapter(base, tmp_path_factory.mktemp("adapter") / "lora", target_modules=targets)


def run_export(folder: Path, target: Path, *overrides: str) -> ExportReport:
    return export(find_source(folder, [f"export_dir={target}", *overrides]))


def test_an_adapter_becomes_a_model_that_is_verified_with_an_image(base: Path, adapter: Path, tmp_path: Path) -> None:
    report = run_export(adapter, tmp_path / "out")
    assert report.verdict.matches is True
    assert report.verdict.difference is not None and report.verdict.difference < 1e-5
    assert report.verdict.effect is not None and report.verdict.effect > 0.1
    assert "with an image" in report.describe() and "they match" in report.describe()
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert (record["base"], record["adapters"], record["verified"]) == (str(base), [str(adapter)], True)


def test_every_other_file_of_the_base_is_there_byte_for_byte(base: Path, adapter: Path, tmp_path: Path) -> None:
    run_export(adapter, tmp_path / "out")
    others = {str(file.relative_to(base)) for file in base.rglob("*") if file.is_file()} - {"model.safetensors"}
    exported = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert exported == others | {"model.safetensors", RECORD}
    assert all((tmp_path / "out" / name).read_bytes() == (base / name).read_bytes() for name in others)


def test_many_small_files(adapter: Path, tmp_path: Path) -> None:
    report = run_export(adapter, tmp_path / "out", "export_size=0.0002")
    assert len(report.weight_files) > 2
    assert all((tmp_path / "out" / name).stat().st_size < 210_000 for name in report.weight_files)
    assert report.verdict.matches is True


def test_half_precision_matches_within_its_rounding(adapter: Path, tmp_path: Path) -> None:
    report = run_export(adapter, tmp_path / "out", "infer_dtype=bfloat16")
    assert report.verdict.matches is True
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in load_file(tmp_path / "out/model.safetensors").values()} == {torch.bfloat16}


def test_a_run_of_a_quantised_base_merges_onto_the_unquantised_one(base: Path, adapter: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(adapter, run)
    settings = {"model_name_or_path": str(base), "output_dir": str(run), "quantization_bit": 4}
    (run / "run.yaml").write_text(yaml.safe_dump(settings))
    assert run_export(run, tmp_path / "out").verdict.matches is True


def test_a_full_run_is_copied_with_the_files_of_its_origin(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(base, run, ignore=shutil.ignore_patterns("LICENSE", "assets"))
    settings = {"model_name_or_path": str(base), "output_dir": str(run), "finetuning_type": "full"}
    (run / "run.yaml").write_text(yaml.safe_dump(settings))
    (run / "metrics.jsonl").write_text("")
    weights = {key: tensor + 0.01 for key, tensor in load_file(run / "model.safetensors").items()}
    save_file(weights, run / "model.safetensors", {"format": "pt"})
    report = run_export(run, tmp_path / "out", "export_size=0.0001")
    assert report.verdict.difference == 0
    assert (tmp_path / "out/LICENSE").read_text() == "do what you like"
    assert not (tmp_path / "out/metrics.jsonl").exists() and not (tmp_path / "out/run.yaml").exists()
    merged = load(tmp_path / "out").state_dict()
    assert all(torch.equal(tensor, merged[key]) for key, tensor in load(run).state_dict().items())


def test_the_template_of_the_training_goes_along(base: Path, adapter: Path, tmp_path: Path) -> None:
    run_export(adapter, tmp_path / "other", "template=vicuna")
    conversation = [{"role": "user", "content": "hi"}]
    text = AutoTokenizer.from_pretrained(tmp_path / "other").apply_chat_template(conversation, tokenize=False)
    assert "USER: hi" in text
    run_export(adapter, tmp_path / "same", "template=qwen2_vl")
    assert (tmp_path / "same/chat_template.jinja").read_bytes() == (base / "chat_template.jinja").read_bytes()


def test_a_run_that_saved_its_template_with_the_tokenizer(base: Path, adapter: Path, tmp_path: Path) -> None:
    run = shutil.copytree(adapter, tmp_path / "run")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        shutil.copy(base / name, run)
    used = (base / "chat_template.jinja").read_text().replace("<|im_end|>\n", "<|im_end|>\n\n")
    (run / "chat_template.jinja").write_text(used)
    (run / "run.yaml").write_text(yaml.safe_dump({"model_name_or_path": str(base), "output_dir": str(run)}))
    run_export(run, tmp_path / "out")
    assert (tmp_path / "out/chat_template.jinja").read_text() == used
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_a_vocabulary_that_grew_goes_along_with_its_tokenizer(qwen2_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    added = [f"<new-{index}>" for index in range(40)]
    settings = {"model_name_or_path": str(qwen2_folder), "output_dir": str(run), "resize_vocab": True}
    settings |= {"add_tokens": ",".join(added)}
    grown = load(qwen2_folder)
    tokenizer = AutoTokenizer.from_pretrained(qwen2_folder)
    tokenizer.add_tokens(added)
    rows = -(-len(tokenizer) // 64) * 64
    grown.resize_token_embeddings(rows, mean_resizing=False)
    grown.save_pretrained(tmp_path / "grown")
    write_adapter(tmp_path / "grown", run, modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    tokenizer.save_pretrained(run)
    (run / "run.yaml").write_text(yaml.safe_dump(settings))
    report = run_export(run, tmp_path / "out")
    assert report.verdict.matches is True
    assert load(tmp_path / "out").get_input_embeddings().weight.shape[0] == rows
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == len(tokenizer)


@pytest.mark.parametrize(
    "options",
    [{"trainable_token_indices": [1, 2]}, {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}],
)
def test_what_cannot_be_merged_by_weight_is_merged_whole(options: dict[str, list[str]], tmp_path: Path) -> None:
    model = tiny_folder("qwen3_moe", tmp_path / "base")
    folder = write_adapter(model, tmp_path / "lora", target_modules=["q_proj"], **options)
    assert run_export(folder, tmp_path / "out").verdict.matches is True


def test_the_base_itself_is_never_written_over(base: Path, adapter: Path) -> None:
    with pytest.raises(UsageError, match="export_dir"):
        run_export(adapter, base, "overwrite_output_dir=true")


def test_what_is_missing_is_named(adapter: Path) -> None:
    with pytest.raises(UsageError, match="export_dir is missing"):
        export(find_source(adapter))


def test_a_quantised_base_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    rounded = shutil.copytree(base, tmp_path / "rounded")
    config = json.loads((rounded / "config.json").read_text())
    (rounded / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(UsageError, match="is quantised \\(gptq\\)"):
        run_export(adapter, tmp_path / "out", f"model_name_or_path={rounded}")


def test_a_file_that_cannot_be_written_leaves_nothing(adapter: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(RunError, match="nothing was kept"):
        run_export(adapter, blocked / "out")
