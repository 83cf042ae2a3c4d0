from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.tiny import KINDS, tiny_folder
from tests.tiny.kinds import padded_vocab_size


def test_two_builds_are_the_same_byte_for_byte(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    again = tiny_folder("qwen2_5_vl", tmp_path)

    for name in ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json"):
        assert (again / name).read_bytes() == (qwen2_5_vl_folder / name).read_bytes(), name


def test_the_tokenizer_keeps_special_tokens_whole_and_any_text_intact(qwen2_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen2_folder)
    text = "<|im_start|>user\n图片里有什么? 👩‍🚀 ñ\t\u0000<|im_end|>"

    ids = tokenizer(text)["input_ids"]

    assert ids[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert ids[-1] == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.decode(ids) == text
    assert max(ids) < len(tokenizer) <= padded_vocab_size(tokenizer)


def test_there_are_enough_architectures() -> None:
    assert len(KINDS) >= 20


@pytest.mark.parametrize("kind", ["llama", "phi", "gpt2"])
def test_some_have_no_padding_token_as_the_real_ones(kind: str, tmp_path: Path) -> None:
    assert AutoTokenizer.from_pretrained(tiny_folder(kind, tmp_path)).pad_token is None
