"""XTuner's projector in a LLaVA of transformers, at the start of a training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.convert.xtuner import prefixed, write_pth, write_zero3
from tests.tiny import tiny_folder
from tunesmith import load
from tunesmith.config.read import load_settings
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.load import load_config, load_model
from tunesmith.models.pth.projector import read_projector
from tunesmith.models.tuning.apply import apply_tuning

VISUAL, HIDDEN = 32, 32


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llava", tmp_path_factory.mktemp("llava") / "model")


def _projector(visual: int = VISUAL, hidden: int = HIDDEN) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = {"0.weight": (hidden, visual), "0.bias": (hidden,), "2.weight": (hidden, hidden), "2.bias": (hidden,)}
    return {f"model.{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _write_folder(folder: Path, *, legacy: bool = False) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "projector", "depth": 2}))
    if legacy:
        torch.save(_projector(), folder / "pytorch_model.bin")
    else:
        save_file(_projector(), folder / "model.safetensors")
    return folder


def _settings(llava: Path, pth: Path, *more: str) -> list[str]:
    return [f"model_name_or_path={llava}", f"pretrained_pth={pth}", "use_cpu=true", "fp16=false", *more]


FULL = ("finetuning_type=full", "freeze_vision_tower=true", "freeze_language_model=true")


def test_a_full_training_starts_from_the_projector_and_from_the_folders_other_weights(
    llava: Path, tmp_path: Path
) -> None:
    pth = write_pth(tmp_path / "iter_2181.pth", prefixed("projector.", _projector()))
    model = load_model(load_settings(None, _settings(llava, pth, *FULL)), trains=True)
    plain, _ = load(llava, device="cpu")
    expected = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    for name, own in (("0", "linear_1"), ("2", "linear_2")):
        for kind in ("weight", "bias"):
            expected[f"model.multi_modal_projector.{own}.{kind}"] = _projector()[f"model.{name}.{kind}"]
    found = model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_adapter_run_must_save_the_projector(llava: Path, tmp_path: Path) -> None:
    pth = write_zero3(tmp_path / "iter_1.pth", prefixed("projector.", _projector()), num_processes=2)
    for more in ([], ["freeze_multi_modal_projector=false", "lora_target=q_proj,linear_1"]):
        with pytest.raises(UsageError, match="freeze_multi_modal_projector: false"):
            load_model(load_settings(None, _settings(llava, pth, *more)), trains=True)


@pytest.mark.parametrize("opened", ["additional_target=multi_modal_projector", "freeze_multi_modal_projector=false"])
def test_an_adapter_run_starts_from_the_projector_that_it_trains(opened: str, llava: Path, tmp_path: Path) -> None:
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("projector.", _projector()))
    settings = load_settings(None, _settings(llava, pth, opened, "lora_target=q_proj"))
    model = apply_tuning(load_model(settings, trains=True), settings)
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    name = next(name for name in trained if name.endswith("linear_2.bias"))
    assert torch.equal(trained[name], _projector()["model.2.bias"])


def test_every_form_it_comes_in(tmp_path: Path) -> None:
    forms = (
        write_pth(tmp_path / "iter_1.pth", prefixed("projector.", _projector())),
        write_zero3(tmp_path / "iter_2.pth", prefixed("projector.", _projector()), num_processes=3),
        _write_folder(tmp_path / "xtuner/projector"),
        _write_folder(tmp_path / "older/projector", legacy=True),
        tmp_path / "xtuner",
    )
    for form in forms:
        assert torch.equal(read_projector(form)["linear_1.weight"], _projector()["model.0.weight"])


def test_what_does_not_fit_is_said(llava: Path, qwen2_folder: Path, tmp_path: Path) -> None:
    other = write_pth(tmp_path / "wide.pth", prefixed("projector.", _projector(hidden=48)))
    with pytest.raises(ModelError, match=r"linear_1\.weight is \(48, 32\), the model's is \(32, 32\)"):
        load_model(load_settings(None, _settings(llava, other, *FULL)), trains=True)
    deep = _projector() | {"model.4.weight": torch.ones(32, 32), "model.4.bias": torch.ones(32)}
    with pytest.raises(ModelError, match=r"expected model\.0\.weight"):
        read_projector(write_pth(tmp_path / "deep.pth", prefixed("projector.", deep)))
    both = prefixed("projector.", _projector()) | {"llm.model.norm.weight": torch.ones(32)}
    with pytest.raises(ModelError, match=r"weights of the language model too.*pth_to_hf"):
        read_projector(write_pth(tmp_path / "both.pth", both))
    fits = write_pth(tmp_path / "fits.pth", prefixed("projector.", _projector()))
    with pytest.raises(UsageError, match="no projector of transformers' LLaVA"):
        load_model(load_settings(None, _settings(qwen2_folder, fits, "finetuning_type=full")), trains=True)


def test_a_llava_folder_in_xtuners_layout_names_the_command_that_joins_it(tmp_path: Path) -> None:
    _write_folder(tmp_path / "llava/projector")
    with pytest.raises(ModelError, match=r"tunesmith convert xtuner_llava .*/llava --language_model THE_LANGUAGE"):
        load_config(tmp_path / "llava")
    tiny_folder("llama", tmp_path / "full")
    _write_folder(tmp_path / "full/projector")
    with pytest.raises(ModelError, match=r"--language_model \S*/full --vision_tower"):
        load_config(tmp_path / "full")
