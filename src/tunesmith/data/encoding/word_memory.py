"""Byte-level BPE of ASCII text by looking words up: each different word goes through the tokenizer's model once.

Nearly all the time of such a tokenizer goes into cutting text into words, with every byte's place followed. For ASCII
text that is simple: a plain regular expression cuts it, and a token has as many characters as bytes. Stretches of other
text go through the tokenizer itself, and are remembered too. Only for tokenizers of a known make, after a trial.
Knows nothing of rows or labels.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from operator import sub
from typing import Any, TypeVar

import numpy as np
from tokenizers import AddedToken
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase

_MOST_WORDS = 300_000
_LONGEST_WORD = 64
_MOST_PIECES = 32
"""Stretches between added tokens that are remembered whole: the same prompt comes again with its other answer, and with
every trial of how much of a row fits."""

_ID_BYTES = array("i").itemsize

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = frozenset(f"{_CONTRACTIONS}|{_LETTERS}|{digits}|{_OTHERS}" for digits in (r"\p{N}", r"\p{N}{1,3}"))
"""How Qwen's tokenizers (a digit at a time) and Llama 3's (up to three) cut text into words."""

_SAME_FOR_ASCII = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
_NOT_PLAIN = re.compile(r"[^\t\n\r -~]")
"""All but ASCII, and its control characters, which one engine takes for blanks and another does not."""

_CUTS = re.compile(r"(?<=[\r\n])(?=[!-~])|(?<=[A-Za-z0-9])(?= [A-Za-z])")
"""Where either expression cuts, whatever stands before and after."""

_BLANKS = {code: chr(256 + code) for code in range(33)}
"""How byte-level vocabularies write blanks (GPT-2's bytes_to_unicode)."""

_SAMPLE = (
    "Hello, World! I'm you'RE we'll it's DON'T 'Tis 1234567 x=y+2;\n\n\n  def f(a, b):\n\treturn a**b  # ok\r\n\r\n"
    "   lots   of    space \n \n\t\t end...?!  --> {\"key\": [1, 2.5, null]} <a href='x'>#@&$ %^ ~`|\\ \n naïve 你好 "
    "cafe\u0301s don’t — “so” 👩‍🚀.\nEnd of it "
)


_Remembered = TypeVar("_Remembered")


@dataclass(frozen=True, slots=True)
class _Other:
    """A stretch that is not plain ASCII.

    lengths:  characters of each token; tokens that are parts of one character have it in common
    advances: by how many characters each token's end is beyond the one's before
    rest:     characters behind the last token, as an accent that normalisation took into it
    """

    ids: bytes
    lengths: list[int]
    advances: list[int]
    rest: int


class WordMemory:
    """Encodes text as `tokenizer` does without adding special tokens. `words` is its expression, one of _WORDS."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, words: str) -> None:
        self._tokenizer = tokenizer
        self._model: BPE = tokenizer.backend_tokenizer.model
        self._cut: Callable[[str], list[str]] = re.compile(_for_ascii(words), re.ASCII).findall
        self._ids_of: dict[str, bytes] = {}  # not lists, which Python's garbage collector would walk through
        self._others: dict[str, _Other] = {}
        self._added = {token.content: _packed([number]) for number, token in tokenizer.added_tokens_decoder.items()}
        self._remember_piece = lru_cache(_MOST_PIECES)(self._encode_piece)
        # A run of one token, as of an image's placeholders, is one match.
        self._find_added = re.compile(f"({'|'.join(map(re.escape, self._added)) or '(?!)'})\\1*").finditer
        vocabulary = tokenizer.get_vocab()
        self._num_characters = np.zeros(1 + max(vocabulary.values()), np.int64)  # of each token of ASCII text, by id
        self._num_characters[list(vocabulary.values())] = list(map(len, vocabulary))

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) int32 of `text`, and the characters (T, 2) that each stands for."""
        ids = bytearray()
        others: list[tuple[int, _Other]] = []  # each with the number of its first token
        position = 0
        for run in self._find_added(text):
            self._encode_between(text[position : run.start()], ids, others)
            token = run[1]
            ids += self._added[token] * ((run.end() - run.start()) // len(token))
            position = run.end()
        self._encode_between(text[position:], ids, others)
        found = np.frombuffer(ids, np.int32)
        return found, self._offsets(found, others)

    def _encode_between(self, piece: str, ids: bytearray, others: list[tuple[int, _Other]]) -> None:
        """Append the tokens of `piece`, in which no added token stands."""
        num_before = len(ids) // _ID_BYTES
        found, found_others = self._remember_piece(piece)
        ids += found
        others += [(num_before + first, other) for first, other in found_others]

    def _encode_piece(self, piece: str) -> tuple[bytes, list[tuple[int, _Other]]]:
        """The ids of `piece`, and its stretches that are not plain, each with the number of its first token."""
        if _is_plain(piece):
            return self._recall(piece), []
        ids, others = bytearray(), []
        for is_plain, stretches in groupby(_CUTS.split(piece), _is_plain):
            if is_plain:
                ids += self._recall("".join(stretches))
                continue
            for stretch in stretches:
                others.append((len(ids) // _ID_BYTES, self._other(stretch)))
                ids += others[-1][1].ids
        return bytes(ids), others

    def _recall(self, piece: str) -> bytes:
        words = self._cut(piece)
        try:
            return b"".join(map(self._ids_of.__getitem__, words))
        except KeyError:
            return b"".join(map(self._learn, words))

    def _learn(self, word: str) -> bytes:
        if word in self._ids_of:
            return self._ids_of[word]
        ids = _packed(token.id for token in self._model.tokenize(word.translate(_BLANKS)))
        _remember(self._ids_of, word, ids)
        return ids

    def _other(self, stretch: str) -> _Other:
        if stretch in self._others:
            return self._others[stretch]
        ids, offsets = self._encode_by_tokenizer(stretch)
        ends = [end for _, end in offsets]
        lengths, advances = [end - start for start, end in offsets], list(map(sub, ends, [0, *ends]))
        other = _Other(_packed(ids), lengths, advances, rest=len(stretch) - ends[-1])
        _remember(self._others, stretch, other)
        return other

    def _encode_by_tokenizer(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        backend = self._tokenizer.backend_tokenizer
        if backend.padding is None and backend.truncation is None:
            found = backend.encode(text, add_special_tokens=False)
            return found.ids, found.offsets
        # Another call left them set; ten times as slow, this one takes them away.
        encoding: Any = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoding["input_ids"], encoding["offset_mapping"]

    def _offsets(self, ids: np.ndarray, others: Sequence[tuple[int, _Other]]) -> np.ndarray:
        lengths = self._num_characters[ids]
        if not others:
            ends = np.cumsum(lengths)
            return np.stack((ends - lengths, ends), axis=1)
        advances = lengths.copy()
        for first, other in others:
            lengths[first : first + len(other.lengths)] = other.lengths
            advances[first : first + len(other.lengths)] = other.advances
        for first, other in others:
            advances[first + len(other.lengths) : first + len(other.lengths) + 1] += other.rest
        ends = np.cumsum(advances)
        return np.stack((ends - lengths, ends), axis=1)


def remember_words(tokenizer: PreTrainedTokenizerBase) -> WordMemory | None:
    """A memory for `tokenizer`, None where it is of another make or a first text does not come out equal."""
    backend = tokenizer.backend_tokenizer
    words = _expression_of(_state_of(backend.pre_tokenizer))
    is_known = (
        words in _WORDS
        and _changes_no_ascii(_state_of(backend.normalizer))
        and _keeps_offsets(_state_of(backend.post_processor))
        and _is_plain_bpe(backend.model)
        and _are_simple(tokenizer.added_tokens_decoder.values())
    )
    memory = WordMemory(tokenizer, words) if is_known else None
    return memory if memory is not None and _passes_trial(memory, tokenizer) else None


def _packed(ids: Iterable[int]) -> bytes:
    return array("i", ids).tobytes()


def _is_plain(text: str) -> bool:
    return _NOT_PLAIN.search(text) is None


def _remember(memory: dict[str, _Remembered], text: str, value: _Remembered) -> None:
    if len(memory) >= _MOST_WORDS:
        memory.clear()
    if len(text) <= _LONGEST_WORD:
        memory[text] = value


def _passes_trial(memory: WordMemory, tokenizer: PreTrainedTokenizerBase) -> bool:
    tokens = [token.content for token in tokenizer.added_tokens_decoder.values()]
    text = _SAMPLE + "".join(token * 2 + piece for token, piece in zip(tokens, _SAMPLE.split(" "), strict=False))
    expected = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = memory.encode(text)
    same_ids = np.array_equal(ids, expected["input_ids"])
    return same_ids and np.array_equal(offsets, expected["offset_mapping"])


def _for_ascii(words: str) -> str:
    """What `words` means for ASCII text, as Python's own expressions say it; they are twice as fast as `regex`."""
    inside = words.replace(r"\p{L}\p{N}]", "A-Za-z0-9]")
    return inside.replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]")


def _state_of(part: Any) -> dict[str, Any]:
    """A part of a fast tokenizer as tokenizer.json has it; {} for None."""
    state: dict[str, Any] = {} if part is None else json.loads(part.__getstate__())
    return state


def _expression_of(pre_tokenizer: dict[str, Any]) -> str:
    """How words are cut; "" unless it is by one expression alone, each match a word."""
    steps = pre_tokenizer.get("pretokenizers", [])
    if [step["type"] for step in steps] != ["Split", "ByteLevel"]:
        return ""
    split, letters = steps
    is_alone = not letters["add_prefix_space"] and not letters["use_regex"]
    is_plain = split["behavior"] == "Isolated" and not split["invert"] and is_alone
    return str(split["pattern"].get("Regex", "")) if is_plain else ""


def _changes_no_ascii(normalizer: dict[str, Any]) -> bool:
    steps = normalizer.get("normalizers", [normalizer])
    return all(step.get("type") in {None, *_SAME_FOR_ASCII} for step in steps)


def _keeps_offsets(post_processor: dict[str, Any]) -> bool:
    steps = post_processor.get("processors", [post_processor])
    return all(
        step.get("type") in (None, "TemplateProcessing") or (step["type"] == "ByteLevel" and not step["trim_offsets"])
        for step in steps
    )


def _is_plain_bpe(model: Any) -> bool:
    return (
        isinstance(model, BPE)
        and not model.dropout
        and not model.continuing_subword_prefix
        and not model.end_of_word_suffix
    )


def _are_simple(added: Iterable[AddedToken]) -> bool:
    """Whether added tokens are found as they are written, wherever they stand, none being the beginning of another."""
    tokens = list(added)
    names = sorted(token.content for token in tokens)
    if any(token.lstrip or token.rstrip or token.single_word or token.normalized for token in tokens):
        return False
    return not any(longer.startswith(shorter) for shorter, longer in pairwise(names))
