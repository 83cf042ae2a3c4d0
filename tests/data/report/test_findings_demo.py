"""Nothing is wrong with data known to be good: LLaMA-Factory's demo datasets, and this repository's own demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.demo.dataset import write_dataset
from examples.demo.scenes import draw_scenes
from tests.data.checked import check_files, found_ids

DEMO = Path(__file__).parents[4] / "shared" / "data" / "llamafactory_demo"
needs_demo = pytest.mark.skipif(not DEMO.is_dir(), reason="the demo datasets are not in ../shared/data")


@needs_demo
@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("identity", "qwen2", {}),
        ("alpaca_en_demo", "qwen2", {"duplicates": "note"}),  # 14 rows do stand there twice
        ("alpaca_zh_demo", "qwen2", {}),
        ("mllm_demo,mllm_video_demo", "qwen2_5_vl", {}),
    ],
)
def test_llamafactorys_demo_data(
    model_folder: Callable[[str], Path], name: str, kind: str, found: dict[str, str]
) -> None:
    checked = check_files(model_folder(kind), dataset=name, dataset_dir=str(DEMO), cutoff_len=4096)
    assert found_ids(checked) == found
    assert checked.survey.report.complete and not checked.survey.report.skipped


@needs_demo
@pytest.mark.parametrize(
    ("stage", "name", "found"),
    [
        ("dpo", "dpo_en_demo", {"duplicates": "note"}),  # 5 and 11 pairs do stand there twice
        ("rm", "dpo_zh_demo", {"duplicates": "note"}),
        ("kto", "kto_en_demo", {}),
        ("pt", "c4_demo,wiki_demo", {}),
        ("grpo", "identity", {}),
    ],
)
def test_the_demo_data_of_every_other_stage(
    model_folder: Callable[[str], Path], stage: str, name: str, found: dict[str, str]
) -> None:
    keys: dict[str, Any] = {"dataset": name, "dataset_dir": str(DEMO), "stage": stage}
    checked = check_files(model_folder("qwen2"), cutoff_len=4096 if stage == "grpo" else 8192, **keys)
    assert found_ids(checked) == found
    assert checked.survey.report.complete and not checked.survey.report.skipped


@needs_demo
def test_a_template_without_tools_makes_tool_calls_unusable(model_folder: Callable[[str], Path]) -> None:
    checked = check_files(model_folder("qwen2"), dataset="glaive_toolcall_en_demo", dataset_dir=str(DEMO))
    assert found_ids(checked)["unusable-rows"] == "error"
    named = check_files(
        model_folder("qwen2"),
        dataset="glaive_toolcall_en_demo",
        dataset_dir=str(DEMO),
        template="qwen2_vl",
        cutoff_len=8192,
    )
    assert "unusable-rows" not in found_ids(named)


def test_the_demo_of_this_repository(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    scenes = draw_scenes(40, seed=1)
    write_dataset(tmp_path, {"train": scenes[:30], "held_out": scenes[30:]})
    keys: dict[str, Any] = {"dataset_dir": str(tmp_path), "eval_dataset": "shapes_english_held_out"}
    checked = check_files(model_folder("qwen2_5_vl"), dataset="shapes_english_train", **keys)
    assert found_ids(checked) == {}
    assert (checked.survey.report.train.rows, checked.survey.report.train.images) == (60, 60)
