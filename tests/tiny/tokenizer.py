"""Small byte-level BPE tokenizers, trained on the spot and always the same.

Knows the corpus and how a tokenizer folder is written; which special tokens a family has is in `kinds`.
"""

from __future__ import annotations

import json
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

NUM_BASE_TOKENS = 560
"""Tokens before the special ones: 256 bytes and the merges learned from the corpus."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_COLOURS = ("red", "green", "blue", "yellow", "white", "black")
_SHAPES = ("circle", "square", "triangle", "star", "ring")
_CHINESE = ("图片里有什么?", "这是一个红色的圆形。", "左边有三个蓝色的方块。", "你好,世界!", "请用中文回答问题。")
_OTHERS = (
    "Emoji: 🎵 🚀 😀 👩‍🚀",
    "def f(x):\n    return x + 1",
    "naïve café, Grüße",
    '{"name": "search", "arguments": {}}',
)


def corpus() -> list[str]:
    """What every tiny tokenizer is trained on: sentences about pictures, Chinese, code, emoji."""
    described = [
        f"system user assistant: What is in the picture? There are {number} {colour} {shape}s on the left."
        for number in range(1, 5)
        for colour in _COLOURS
        for shape in _SHAPES
    ]
    return described + [*_CHINESE, *_OTHERS] * 12


@cache
def _train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_BASE_TOKENS, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def build_qwen_tokenizer(
    special_tokens: tuple[str, ...], *, chat_template: str, named_tokens: dict[str, str] | None = None
) -> PreTrainedTokenizerBase:
    """Qwen's own class: no BOS, `<|endoftext|>` pads, `<|im_end|>` ends a turn and the text.

    `named_tokens` are special tokens that a processor finds as attributes of the tokenizer.
    """
    bpe = Tokenizer.from_str(_train().to_str())
    vocab = bpe.get_vocab(with_added_tokens=False)
    merges = [tuple(merge) for merge in _merges(bpe)]
    tokenizer = Qwen2Tokenizer(
        vocab={**vocab, "<|endoftext|>": len(vocab)},
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named_tokens or list(special_tokens),
    )
    if named_tokens:
        tokenizer.add_tokens(list(special_tokens), special_tokens=True)
    tokenizer.chat_template = chat_template
    return tokenizer


def build_bpe_tokenizer(
    special_tokens: tuple[str, ...],
    *,
    bos_token: str | None,
    eos_token: str,
    pad_token: str | None,
    chat_template: str | None,
    named_tokens: dict[str, str] | None = None,
) -> PreTrainedTokenizerBase:
    """transformers' general fast tokenizer; a BOS, where there is one, is put before every text."""
    bpe = Tokenizer.from_str(_train().to_str())
    bpe.add_special_tokens([token for token in (bos_token, eos_token, pad_token, *special_tokens) if token])
    if bos_token:
        bpe.post_processor = _bos_first(bos_token, bpe.token_to_id(bos_token))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bos_token,
        eos_token=eos_token,
        pad_token=pad_token,
        extra_special_tokens=named_tokens or list(special_tokens),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def _merges(bpe: Tokenizer) -> list[list[str]]:
    merges: list[list[str]] = json.loads(bpe.to_str())["model"]["merges"]
    return merges


def _bos_first(token: str, token_id: int) -> TemplateProcessing:
    return TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, token_id)])
