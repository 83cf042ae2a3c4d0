"""MiniCPM against the published code: golden/logits.json holds what MiniCPM4's class answered, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import GraniteForCausalLM

from tests.models.families.known_folder import logits_at, read_golden, write_known_folder
from tests.tiny import tiny_folder
from tests.tiny.internlm import MINICPM
from tunesmith.config.model import MediaSettings
from tunesmith.errors import ModelError
from tunesmith.models.families.minicpm.config import MiniCPMConfig
from tunesmith.models.load import load_config, read_pretrained
from tunesmith.models.preprocessing.processor import read_preprocessor

GOLDEN = read_golden(__file__)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_logits_are_those_of_the_published_class(case: str, tmp_path: Path) -> None:
    golden = GOLDEN["cases"][case]
    logits = logits_at(write_known_folder(tmp_path, golden["config"]), GOLDEN)

    torch.testing.assert_close(logits, torch.tensor(golden["logits"]), rtol=0, atol=1e-5)


def test_long_rope_matters_in_these_cases(tmp_path: Path) -> None:
    config = GOLDEN["cases"]["long rope beyond its length"]["config"]
    scaled = logits_at(write_known_folder(tmp_path / "scaled", config), GOLDEN)
    plain = logits_at(write_known_folder(tmp_path / "plain", {**config, "rope_scaling": None}), GOLDEN)

    assert (scaled - plain).abs().max() > 1e-3


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_the_native_config_is_the_same_model_in_transformers_own_class(case: str, tmp_path: Path) -> None:
    model = load(write_known_folder(tmp_path, GOLDEN["cases"][case]["config"]))
    config: Any = model.config
    assert isinstance(config, MiniCPMConfig)
    native = GraniteForCausalLM(config.as_granite()).eval()
    native.load_state_dict(model.state_dict())
    ids = torch.tensor([GOLDEN["ids"]])

    assert native.config.model_type == "granite"
    with torch.no_grad():
        assert torch.equal(native(ids).logits, model(ids).logits)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_config_and_weights_are_written_as_they_were_read(case: str, tmp_path: Path) -> None:
    folder = write_known_folder(tmp_path / "published", GOLDEN["cases"][case]["config"])
    load(folder).save_pretrained(tmp_path / "again")
    published, again = (json.loads((place / "config.json").read_text()) for place in (folder, tmp_path / "again"))

    assert {key: again.get(key) for key in published} == published
    assert not {"rope_parameters", "embedding_multiplier", "logits_scaling"} & set(again)
    assert torch.equal(logits_at(tmp_path / "again", GOLDEN), logits_at(folder, GOLDEN))
    assert ("lm_head.weight" in load_file(tmp_path / "again" / "model.safetensors")) == (case == "own head")


def test_without_a_word_on_it_the_head_is_tied_if_none_is_stored(tmp_path: Path) -> None:
    config = GOLDEN["cases"]["own head"]["config"]
    silent = {key: value for key, value in config.items() if key != "tie_word_embeddings"}
    own = write_known_folder(tmp_path / "own", config)
    tied = write_known_folder(tmp_path / "tied", config | {"tie_word_embeddings": True})
    for folder in (own, tied):
        (folder / "config.json").write_text(json.dumps(silent))

    assert load_config(own).tie_word_embeddings is False
    assert load_config(tied).tie_word_embeddings is True


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sparse_config": {"topk": 64}}, "sparse_config asks for sparse attention"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "type 'yarn' is none of linear, dynamic, longrope"),
    ],
)
def test_what_cannot_be_exact_is_refused_by_name(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**MINICPM, **changed}))

    with pytest.raises(ModelError, match=message):
        load_config(tmp_path)


def test_the_tokenizer_json_is_read_as_it_stands(tmp_path: Path) -> None:
    """transformers' LlamaTokenizer, which the folder names, would build another from its vocabulary."""
    folder = tiny_folder("minicpm", tmp_path)
    tokenizer = read_preprocessor(folder, media=MediaSettings()).tokenizer
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("你好 a  b", "<|im_start|>user\nhi<|im_end|>"):
        assert tokenizer(text).input_ids == stored.encode(text).ids


def load(folder: Path) -> Any:
    return read_pretrained(folder, load_config(folder), dtype=None, device="cpu").eval()
