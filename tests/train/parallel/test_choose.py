"""Which engine trains, and that the choice follows from what fits."""

from __future__ import annotations

import pytest

from tunesmith.config.read import load_settings_from
from tunesmith.errors import UsageError
from tunesmith.train.parallel import choose
from tunesmith.train.parallel.choose import choose_engine


def settings_of(model, **changes):
    given = {"model_name_or_path": str(model), "dataset": "rows.json", "output_dir": "run", "use_cpu": True}
    return load_settings_from({**given, **changes})


@pytest.mark.parametrize(
    ("changes", "num_processes", "engine"),
    [
        ({}, 1, "single"),
        ({"parallel": "ddp"}, 1, "single"),
        ({"parallel": "fsdp2"}, 1, "fsdp2"),
        ({"deepspeed": "zero3"}, 1, "deepspeed"),
        ({"deepspeed": "zero2"}, 4, "deepspeed"),
        ({"parallel": "ddp"}, 4, "ddp"),
        ({}, 4, "ddp"),
    ],
)
def test_engines_as_asked_for(qwen2_folder, changes, num_processes, engine):
    assert choose_engine(settings_of(qwen2_folder, **changes), num_processes=num_processes).engine == engine


@pytest.mark.parametrize(
    ("changes", "bytes_per_weight"),
    [
        ({"finetuning_type": "full"}, 16.0),
        ({"finetuning_type": "full", "pure_bf16": True}, 8.0),
        ({"finetuning_type": "lora"}, 0.99 * 4 + 0.01 * 16),
        ({"finetuning_type": "lora", "bf16": True}, 0.99 * 2 + 0.01 * 16),
    ],
)
def test_auto_cuts_what_does_not_fit(qwen2_folder, monkeypatch, changes, bytes_per_weight):
    """One that just fits is held whole, one byte more and it is cut."""
    settings = settings_of(qwen2_folder, **changes)
    files = sum(file.stat().st_size for file in qwen2_folder.glob("*.safetensors"))
    needed = files / 4 * bytes_per_weight
    for spare, engine in ((1.001, "ddp"), (0.999, "fsdp2")):
        monkeypatch.setattr(choose, "_device_bytes", lambda *, use_cpu, spare=spare: needed * spare / 0.7)
        choice = choose_engine(settings, num_processes=2)
        assert choice.engine == engine
        assert f"about {needed / 1e9:.1f} GB" in choice.reason


def test_two_engines_at_once_are_refused(qwen2_folder):
    with pytest.raises(UsageError, match=r"deepspeed"):
        choose_engine(settings_of(qwen2_folder, parallel="fsdp2", deepspeed="zero2"), num_processes=2)
