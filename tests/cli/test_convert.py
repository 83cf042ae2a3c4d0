"""`tunesmith convert` as XTuner's users type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.compose.towers import tower_folder
from tests.convert.xtuner import CONFIG, model_weights, prefixed, random_lora, with_lora_by_hand, write_pth
from tests.export.adapters import write_adapter
from tests.tiny import tiny_folder
from tunesmith.cli.main import main


@pytest.fixture
def checkpoint(qwen2_folder: Path, tmp_path: Path) -> Path:
    """iter_500.pth of a QLoRA training, and its config beside it."""
    (tmp_path / "internlm2_qlora.py").write_text(CONFIG.format(base=str(qwen2_folder)))
    return write_pth(tmp_path / "iter_500.pth", prefixed("llm.", random_lora(qwen2_folder)))


def test_xtuners_own_line_then_merge_and_chat(
    checkpoint: Path, qwen2_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, merged = tmp_path / "hf", tmp_path / "merged"
    config = tmp_path / "internlm2_qlora.py"
    line = ["convert", "pth_to_hf", str(config), str(checkpoint), str(adapter), "--fp32", "--max-shard-size", "2GB"]
    assert main(line) == 0
    assert f"an adapter on {qwen2_folder}" in capsys.readouterr().out
    line = ["convert", "merge", str(qwen2_folder), str(adapter), str(merged), "--max-shard-size", "2GB"]
    assert main([*line, "--device", "cpu", "--safe-serialization"]) == 0
    assert "they match" in capsys.readouterr().out
    by_hand = model_weights(with_lora_by_hand(qwen2_folder, random_lora(qwen2_folder), tmp_path / "by_hand"))
    name = "model.layers.1.self_attn.q_proj.weight"
    torch.testing.assert_close(model_weights(merged)[name].double(), by_hand[name], rtol=0, atol=1e-6)
    assert main(["chat", str(merged), "--prompt", "hi", "max_new_tokens=3"]) == 0


def test_options_in_both_spellings_take_the_configs_place(checkpoint: Path, qwen2_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    assert (
        main(["convert", "pth_to_hf", str(checkpoint), str(out), f"language_model={qwen2_folder}", "lora_alpha=16"])
        == 0
    )
    assert json.loads((out / "adapter_config.json").read_text())["lora_alpha"] == 16
    out = tmp_path / "b"
    line = ["--language-model", str(qwen2_folder), "--lora-alpha", "16", str(checkpoint), str(out)]
    assert main(["convert", "pth_to_hf", *line]) == 0


def test_a_config_is_read_and_never_run(checkpoint: Path, qwen2_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "trap.py"
    ran = tmp_path / "ran"
    config.write_text(CONFIG.format(base=str(qwen2_folder)) + f"\nopen({str(ran)!r}, 'w').close()\n")
    assert main(["convert", "pth_to_hf", str(config), str(checkpoint), str(tmp_path / "out")]) == 0
    assert not ran.exists()


def test_a_llava_from_its_parts(qwen2_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tower = tower_folder("clip", tmp_path / "clip")
    shapes = {"0.weight": (32, 32), "0.bias": (32,), "2.weight": (32, 32), "2.bias": (32,)}
    state = {f"projector.model.{name}": torch.ones(shape) for name, shape in shapes.items()}
    pth = write_pth(tmp_path / "iter_1.pth", state)
    parts, joined = tmp_path / "parts", tmp_path / "joined"
    assert main(["convert", "pth_to_hf", str(pth), str(parts), "--save-format", "xtuner"]) == 0
    line = ["--language_model", str(qwen2_folder), "--vision_tower", str(tower), "--output", str(joined)]
    assert main(["convert", "xtuner_llava", str(parts), *line]) == 0
    assert "and the trained projector" in capsys.readouterr().out
    weights = model_weights(joined)
    assert all(bool((tensor == 1).all()) for name, tensor in weights.items() if "multi_modal_projector" in name)
    assert main(["chat", str(parts)]) == 1
    assert main(["export", f"model_name_or_path={parts}", f"export_dir={tmp_path / 'x'}"]) == 1
    assert capsys.readouterr().err.count("tunesmith convert xtuner_llava") == 2


def test_the_adapter_of_a_clip_tower(tmp_path: Path) -> None:
    tower = tower_folder("clip", tmp_path / "clip")
    lora = random_lora(tower)
    from tunesmith.convert.lora import write_adapter as write_xtuner_adapter
    from tunesmith.convert.training_config import LoraRecipe

    old = {name.replace("model.encoder", "model.vision_model.encoder"): tensor for name, tensor in lora.items()}
    write_xtuner_adapter(old, tmp_path / "adapter", base="clip", recipe=LoraRecipe(6), task_type=None)
    line = [str(tower), str(tmp_path / "adapter"), str(tmp_path / "merged"), "--is-clip"]
    assert main(["convert", "merge", *line]) == 0
    expected = model_weights(with_lora_by_hand(tower, lora, tmp_path / "by_hand"))
    found = model_weights(tmp_path / "merged")
    assert all(torch.allclose(found[name].double(), expected[name], atol=1e-6) for name in expected)
    assert (tmp_path / "merged/preprocessor_config.json").is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pth_to_hf iter_1.pth", "write tunesmith convert pth_to_hf [CONFIG] PTH SAVE_DIR"),
        ("pth_to_hf none.py iter_1.pth out", "there is no config file none.py; leave it out"),
        ("pth_to_hf iter_1.pth out --lora_alpha big", "expected a number"),
        ("pth_to_hf iter_1.pth out --lora_alpa 3", "did you mean --lora_alpha?"),
        ("pth_to_hf iter_1.pth out --save-format official", "expected huggingface or xtuner"),
        ("pth_to_hf iter_1.pth out --max-shard-size 2", "expected a size such as 2GB"),
        ("pth_to_hf iter_1.pth out --language_model", "needs a value"),
        ("merge a b", "write tunesmith convert merge LLM ADAPTER SAVE_DIR"),
        ("xtuner_llava a --output b", "--language_model, --vision_tower missing"),
        ("split a b", "tunesmith export --model_name_or_path SRC --export_dir DST --export_size 1"),
        ("hf_to_pth a b", "the conversions are pth_to_hf, xtuner_llava, merge"),
    ],
)
def test_a_wrong_line_is_a_usage_error(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", *line.split()]) == 2
    assert message in capsys.readouterr().err


def test_help_and_usage_errors_answer_at_once_without_torch() -> None:
    for words, start in ((["--help"], "tunesmith convert pth_to_hf"), (["merge", "a"], "")):
        call = f"main(['convert', *{words}])"
        code = f"import sys; from tunesmith.cli.main import main; {call}; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(start) and done.stdout.endswith("False\n")


def test_a_full_model_and_its_shards(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("llm.", model_weights(base)))
    line = [str(pth), str(tmp_path / "out"), "--language_model", str(base), "--max-shard-size", "0.05MB"]
    assert main(["convert", "pth_to_hf", *line]) == 0
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    assert write_adapter(tmp_path / "out", tmp_path / "adapter").is_dir()  # it loads and trains on
