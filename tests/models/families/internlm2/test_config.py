from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest

from tests.tiny.internlm import INTERNLM2
from tunesmith.errors import ModelError
from tunesmith.models.families.internlm2.config import InternLM2Config
from tunesmith.models.load import load_config


def test_published_keys_say_what_llama_is_to_be() -> None:
    config = InternLM2Config.from_dict({**deepcopy(INTERNLM2), "bias": True})

    assert config.attention_bias is True
    assert config.mlp_bias is False
    assert config.head_dim == 8
    assert config.rope_parameters["rope_type"] == "dynamic"
    assert config.rope_parameters["rope_theta"] == 1000000


def test_the_attention_of_the_file_decides_nothing_and_is_kept() -> None:
    config = InternLM2Config.from_dict({**deepcopy(INTERNLM2), "attn_implementation": "flash_attention_2"})

    assert config._attn_implementation is None
    assert config.to_diff_dict()["attn_implementation"] == "flash_attention_2"


def test_it_survives_the_way_through_its_own_dict() -> None:
    config = InternLM2Config.from_dict(deepcopy(INTERNLM2))

    assert InternLM2Config.from_dict(config.to_dict()).to_dict() == config.to_dict()
    assert InternLM2Config.from_dict(config.to_diff_dict()).to_diff_dict() == config.to_diff_dict()


def test_an_absent_scaling_is_written_as_null() -> None:
    written = InternLM2Config.from_dict({**INTERNLM2, "rope_scaling": None}).to_diff_dict()

    assert written["rope_scaling"] is None
    assert written["rope_theta"] == 1000000


def test_another_scaling_is_refused_by_name(tmp_path: Path) -> None:
    config = {**INTERNLM2, "rope_scaling": {"type": "yarn", "factor": 2.0}}
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(ModelError, match="type 'yarn' is none of InternLM2's: linear, dynamic"):
        load_config(tmp_path)
