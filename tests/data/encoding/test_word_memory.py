"""Words looked up give what the tokenizer gives: every id and every offset, for any text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tunesmith.data.encoding.word_memory import remember_words

QWEN = Path(__file__).parents[4] / "shared" / "tokenizers" / "qwen" / "tokenizer.json"

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_3_WORDS = QWEN_WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|")

PIECES = [
    *map(chr, range(32, 127)),
    *("\n", "\n\n", "\t", "\r\n", "  ", "   \n", "'ll", "'S", "123", "4567", " a", " b c", "foo"),
    *("é", "e\u0301", "ſ", "’", "“so”", "你好", "👩‍🚀", "\u00a0", "\u3000", "\u0085", "\u200b", "\x0b", "\x1c", "\x7f"),
    *("<|im_end|>", "<|im_start|>", "<|im_end|><|im_end|>", "<|im", "<tool_call>"),
]


def tokenizer_of(words: str, *, added: tuple[str, ...] = ("<|im_end|>", "<|im_start|>")) -> PreTrainedTokenizerBase:
    """Byte-level BPE with `words` as its expression, and merges enough that words are several tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("a", "b"),
        ("t", "h"),
        ("th", "e"),
        ("Ġ", "a"),
        ("Ġ", "the"),
        ("Ċ", "Ċ"),
        ("1", "2"),
        ("12", "3"),
        ("l", "l"),
    ]
    tokens = [*letters, *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    split = pre_tokenizers.Split(Regex(words), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.add_special_tokens({"additional_special_tokens": list(added)})
    return tokenizer


def random_texts(count: int) -> list[str]:
    drawn = random.Random(0)
    return ["".join(drawn.choices(PIECES, k=drawn.randint(1, 60))) for _ in range(count)]


def assert_equal_to_tokenizer(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> None:
    memory = remember_words(tokenizer)
    assert memory is not None
    for text in [*texts, *texts[:50]]:  # the last ones from memory
        expected = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = memory.encode(text)
        assert ids.tolist() == expected["input_ids"], text
        assert offsets.tolist() == [list(span) for span in expected["offset_mapping"]], text


@pytest.mark.parametrize("words", [QWEN_WORDS, LLAMA_3_WORDS])
def test_every_id_and_offset_is_the_tokenizers(words: str) -> None:
    assert_equal_to_tokenizer(tokenizer_of(words), random_texts(1500))


@pytest.mark.skipif(not QWEN.is_file(), reason="Qwen's tokenizer is not in ../shared/tokenizers")
def test_qwens_own_tokenizer_is_remembered() -> None:
    assert_equal_to_tokenizer(PreTrainedTokenizerFast(tokenizer_file=str(QWEN)), random_texts(1500))


def test_a_prompt_that_comes_again_with_another_answer() -> None:
    texts = random_texts(200)
    pairs = [prompt + "<|im_end|>" + answer for prompt in texts[:20] for answer in texts[:6]]
    assert_equal_to_tokenizer(tokenizer_of(QWEN_WORDS), pairs)


def test_a_run_of_placeholders_is_one_match() -> None:
    memory = remember_words(tokenizer_of(QWEN_WORDS))
    assert memory is not None
    ids, offsets = memory.encode("<|im_end|>" * 5000)
    assert len(set(ids.tolist())) == 1 and offsets[-1].tolist() == [49_990, 50_000]


def test_empty_text_has_no_tokens() -> None:
    memory = remember_words(tokenizer_of(QWEN_WORDS))
    assert memory is not None
    ids, offsets = memory.encode("")
    assert ids.shape == (0,) and offsets.shape == (0, 2)


def test_an_unknown_expression_is_left_to_the_tokenizer() -> None:
    assert remember_words(tokenizer_of(r"\p{L}+|\s+|.")) is None


def test_added_tokens_that_begin_one_another_are_left_to_the_tokenizer() -> None:
    assert remember_words(tokenizer_of(QWEN_WORDS, added=("<|im|>", "<|im|>x"))) is None


def test_a_padding_call_before_changes_nothing() -> None:
    tokenizer = tokenizer_of(QWEN_WORDS)
    tokenizer.pad_token = "<|im_end|>"
    memory = remember_words(tokenizer)
    assert memory is not None
    expected = tokenizer("é", add_special_tokens=False)["input_ids"]
    tokenizer(["a", "b"], padding="max_length", max_length=20, truncation=True)
    assert memory.encode("é")[0].tolist() == expected
