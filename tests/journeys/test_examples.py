"""The users' files under examples/, run as they stand on tiny models of their architectures, then merged.

Only the model, sizes and the device are set from outside; the folder holds what the files name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.tree import REPOSITORY
from tests.journeys.given import losses, tunesmith
from tests.recipes.rows import write_data
from tests.tiny import tiny_folder

RUNS = [
    ("qwen2_5_vl/lora_sft.yaml", "qwen2_5_vl"),
    ("qwen2_5_vl/full_sft.yaml", "qwen2_5_vl"),
    ("minicpm_v/lora_sft.yaml", "minicpmv_4_5"),
    ("minicpm_v/lora_sft.yaml", "minicpmv_4_0"),
    ("minicpm_v/lora_sft.yaml", "minicpmv_2_6"),
    ("minicpm_v/full_sft.yaml", "minicpmv_4_5"),
    ("minicpm_v/video_sft.yaml", "minicpmv_4_5"),
    ("minicpm_v/own_format.yaml", "minicpmv_2_6"),
    ("minicpm_o/lora_sft.yaml", "minicpmo_2_6"),
    ("internlm/qlora_identity.yaml", "internlm2"),
]
SMALL = ("max_steps=2", "gradient_accumulation_steps=1", "dataloader_num_workers=0", "sample_max_new_tokens=2")
FEW_FRAMES = ("video_fps=5", "video_maxlen=6")
ON_THE_CPU = ("use_cpu=true", "bf16=false", "flash_attn=auto", "report_to=none", "save_strategy=no", "logging_steps=1")


@pytest.mark.slow
@pytest.mark.parametrize(("example", "kind"), RUNS)
def test_an_example_trains_and_merges(example: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    model = tiny_folder(kind, tmp_path / "model")
    place = (f"model_name_or_path={model}", "output_dir=run")
    tunesmith("train", REPOSITORY / "examples" / example, *place, *SMALL, *FEW_FRAMES, *ON_THE_CPU)
    assert all(0 < loss < 10 for loss in losses(tmp_path / "run"))

    tunesmith("export", "run", "export_dir=merged")
    assert {path.name for path in Path("merged").iterdir()} >= {path.name for path in model.iterdir()}
