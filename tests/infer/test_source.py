from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from peft import LoraConfig, get_peft_model

from tunesmith.errors import ModelError, UsageError
from tunesmith.infer.source import find_source
from tunesmith.models.load import load_config, read_pretrained


@pytest.fixture(scope="module")
def adapter(qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = read_pretrained(qwen2_folder, load_config(qwen2_folder), dtype=None, device="cpu")
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(folder)
    return folder


def write_run(folder: Path, base: Path, **settings: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_name_or_path": str(base), "output_dir": str(folder), **settings}
    (folder / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def test_a_model_folder_is_itself(qwen2_folder: Path) -> None:
    source = find_source(qwen2_folder, ["temperature=0.2"])
    assert (source.base, source.adapters, source.trained) == (qwen2_folder.resolve(), (), None)
    assert source.settings.generation.temperature == 0.2


def test_an_adapter_folder_brings_the_base_it_names(qwen2_folder: Path, adapter: Path) -> None:
    source = find_source(adapter)
    assert (source.base, source.adapters) == (qwen2_folder.resolve(), (adapter,))


def test_a_yaml_names_base_and_adapter(qwen2_folder: Path, adapter: Path, tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    file.write_text(f"model_name_or_path: {qwen2_folder}\nadapter_name_or_path: {adapter}\ntemplate: qwen\n")
    source = find_source(file)
    assert (source.base, source.adapters) == (qwen2_folder.resolve(), (adapter,))
    assert source.settings.data.template == "qwen"


def test_a_finished_lora_run(qwen2_folder: Path, adapter: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", qwen2_folder, template="qwen", default_system="be brief")
    shutil.copytree(adapter, run, dirs_exist_ok=True)
    source = find_source(run)
    assert (source.base, source.adapters, source.trained) == (qwen2_folder.resolve(), (run,), run)
    assert source.settings.data.default_system == "be brief"


def test_a_training_yaml_means_what_it_trained(qwen2_folder: Path, adapter: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", qwen2_folder)
    file = tmp_path / "train.yaml"
    shutil.copy(run / "run.yaml", file)
    assert find_source(file).adapters == ()  # nothing saved yet: the model it would start from
    shutil.copytree(adapter, run, dirs_exist_ok=True)
    assert find_source(file).adapters == (run,)


def test_an_unfinished_run_answers_with_its_latest_checkpoint(
    qwen2_folder: Path, adapter: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path / "run", qwen2_folder)
    for step in (9, 10):
        shutil.copytree(adapter, run / "checkpoints" / f"step-{step}")
    source = find_source(run)
    assert source.adapters == (run / "checkpoints" / "step-10",)
    assert "did not finish" in said.text and "step 10" in said.text


def test_a_checkpoint_folder_brings_the_settings_of_its_run(qwen2_folder: Path, adapter: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", qwen2_folder, template="qwen")
    shutil.copytree(adapter, run / "checkpoints" / "step-9")
    source = find_source(run / "checkpoints" / "step-9")
    assert source.settings.data.template == "qwen"
    assert source.adapters == (run / "checkpoints" / "step-9",)


def test_a_run_that_went_on_with_an_adapter_replaces_it(qwen2_folder: Path, adapter: Path, tmp_path: Path) -> None:
    first, second = (shutil.copytree(adapter, tmp_path / name) for name in ("first", "second"))
    given = f"{first},{second}"
    went_on = write_run(tmp_path / "a", qwen2_folder, adapter_name_or_path=given)
    started = write_run(tmp_path / "b", qwen2_folder, adapter_name_or_path=given, create_new_adapter=True)
    for run in (went_on, started):
        shutil.copytree(adapter, run, dirs_exist_ok=True)
    assert find_source(went_on).adapters == (first, went_on)
    assert find_source(started).adapters == (first, second, started)


def test_an_adapter_on_the_command_line_wins(qwen2_folder: Path, adapter: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", qwen2_folder)
    shutil.copytree(adapter, run, dirs_exist_ok=True)
    for target, overrides in ((run, []), (run / "run.yaml", []), (None, [f"model_name_or_path={qwen2_folder}"])):
        assert find_source(target, [*overrides, f"adapter_name_or_path={adapter}"]).adapters == (adapter,)


def test_a_full_run_is_its_own_base(qwen2_folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", qwen2_folder, finetuning_type="full")
    shutil.copytree(qwen2_folder, run, dirs_exist_ok=True)
    source = find_source(run)
    assert (source.base, source.adapters, source.origin) == (run, (), qwen2_folder.resolve())


def test_a_full_run_answers_where_its_origin_is_gone(qwen2_folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path / "gone", finetuning_type="full")
    shutil.copytree(qwen2_folder, run, dirs_exist_ok=True)
    assert find_source(run).origin is None


def test_a_base_that_moved_is_named_with_the_cure(adapter: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path / "gone")
    shutil.copytree(adapter, run, dirs_exist_ok=True)
    with pytest.raises(ModelError, match=r"base model cannot be found.*gone.*model_name_or_path=FOLDER"):
        find_source(run)


def test_folders_without_a_model_are_refused(tmp_path: Path, qwen2_folder: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        find_source(tmp_path)
    with pytest.raises(ModelError, match="saved no model or checkpoint yet"):
        find_source(write_run(tmp_path / "run", qwen2_folder))
    with pytest.raises(UsageError, match="no model is named"):
        find_source(None)
