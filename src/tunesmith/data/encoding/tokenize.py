"""Text to ids, with the characters each token stands for.

Text that a row brings never becomes a control token: where it spells one, the stretch between the template's own
control tokens is encoded again as plain text. Every other text gets exactly the tokenizer's own ids.

A control token is an added token marked special, or a placeholder of media. Added tokens that are not special
(`<tool_call>`, `<think>` of Qwen) are vocabulary that a row may use. Knows nothing of conversations or labels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tunesmith import log
from tunesmith.data.encoding.spans import Span, overlaps, tokens_in
from tunesmith.data.encoding.word_memory import remember_words
from tunesmith.errors import ModelError
from tunesmith.models.preprocessing.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids (T,) int32 and the characters they stand for (T, 2): start and end, without gaps between tokens.

    spelled: whether text of a row spelled a control token and was kept plain
    """

    ids: np.ndarray
    offsets: np.ndarray
    spelled: bool = False

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """Encodes rendered and media-expanded text as the model's own tokenizer or processor does."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        tokenizer = preprocessor.tokenizer
        if not tokenizer.is_fast:
            raise ModelError(
                f"{type(tokenizer).__name__} has no fast version, so it cannot say which characters a token stands "
                "for, and labels need that. Convert it (a tokenizer.json in the model's folder) or take a model "
                "whose tokenizer is fast."
            )
        self._tokenizer = tokenizer
        self._has_processor = preprocessor.processor is not None
        self._control = control_tokens(preprocessor)
        self._is_control = np.zeros(1 + max(tokenizer.get_vocab().values()), dtype=bool)  # by id
        self._is_control[list(self._control.values())] = True
        # Unknown characters become the unknown token without anyone spelling it.
        self._never_made = set(self._control.values()) - {tokenizer.unk_token_id}
        self._words = remember_words(tokenizer)
        self._is_never_wrapped = not tokenizer("", add_special_tokens=True)["input_ids"]

    def encode(self, text: str, *, literal: Sequence[Span] = ()) -> Tokens:
        """Ids of `text`. `literal` are the spans that came from a row, not from the template.

        Raises ModelError if the tokenizer makes a control token even of plain text.
        """
        ids, raw = self._encode_whole(text)
        control = np.flatnonzero(self._is_control[ids])
        spelled = control[self._spelled(text, ids[control], raw[control], literal)]
        if len(spelled):
            log.note_once(
                f"text of a row spells the control token {text[slice(*raw[spelled[0]])].strip()!r}: it is encoded as "
                "plain text, here and in every other row"
            )
            ids, raw = self._encode_apart(text, ids, raw, owned=np.setdiff1d(control, spelled), spelled=spelled)
        return Tokens(ids.astype(np.int32), _without_gaps(raw), spelled=len(spelled) > 0)

    def _encode_whole(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) of `text` and the characters (T, 2) that the tokenizer says they stand for."""
        adds_special_tokens = self.adds_special_tokens(text)
        if self._words is not None and (self._is_never_wrapped or not adds_special_tokens):
            return self._words.encode(text)
        encoding = self._tokenizer(text, add_special_tokens=adds_special_tokens, return_offsets_mapping=True)
        ids = np.asarray(encoding["input_ids"], dtype=np.int64)
        return ids, np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)

    def adds_special_tokens(self, text: str) -> bool:
        """Whether the tokenizer adds its BOS and EOS: as transformers' `apply_chat_template` decides it.

        A tokenizer's own never does; a processor's does unless the text starts with a BOS.
        """
        bos = self._tokenizer.bos_token
        return self._has_processor and not (bos is not None and text.startswith(bos))

    def _spelled(self, text: str, ids: np.ndarray, raw: np.ndarray, literal: Sequence[Span]) -> np.ndarray:
        """(N,) bool: the control tokens `ids` (N,) at `raw` (N, 2) that text of a row spelled."""
        touches = tokens_in(raw, literal)
        for index in np.flatnonzero(touches):
            span = _trimmed(text, raw[index])  # a template's own token may have swallowed a row's whitespace
            unknown = ids[index] == self._tokenizer.unk_token_id and text[slice(*span)] != self._tokenizer.unk_token
            touches[index] = overlaps(span, literal) and not unknown
        return touches

    def _encode_apart(
        self, text: str, ids: np.ndarray, raw: np.ndarray, *, owned: np.ndarray, spelled: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`ids` and `raw` with every stretch between `owned` control tokens that holds a `spelled` one encoded anew."""
        walls = [-1, *owned.tolist(), len(ids)]
        kept_ids, kept_raw = [], []
        for before, after in pairwise(walls):
            if ((before < spelled) & (spelled < after)).any():
                start = int(raw[before, 1]) if before >= 0 else 0
                end = int(raw[after, 0]) if after < len(ids) else len(text)
                stretch = self._encode_plain(text, (start, end))
            else:
                stretch = (ids[before + 1 : after], raw[before + 1 : after])
            kept_ids += [stretch[0], ids[after : after + 1]]
            kept_raw += [stretch[1], raw[after : after + 1]]
        return np.concatenate(kept_ids), np.concatenate(kept_raw)

    def _encode_plain(self, text: str, span: Span) -> tuple[np.ndarray, np.ndarray]:
        ids, raw = [], []
        for start, end in _pieces(span, self._breaks(text[slice(*span)])):
            plain = self._plain_first if start == 0 else self._plain_inner
            encoding = plain.encode(text[start:end], add_special_tokens=False)
            ids += encoding.ids
            raw += [(start + first, start + last) for first, last in encoding.offsets]
        found = set(ids) & self._never_made
        if found:
            token = self._tokenizer.convert_ids_to_tokens(found.pop())
            raise ModelError(f"the tokenizer makes the control token {token!r} of plain text; remove it from the row")
        return np.array(ids, dtype=np.int64), np.array(raw, dtype=np.int64).reshape(-1, 2)

    def _breaks(self, text: str) -> list[int]:
        """Where `text` must be broken because the vocabulary itself, beside the added tokens, has a control token."""
        if not set(self._plain_inner.encode(text, add_special_tokens=False).ids) & self._never_made:
            return []
        return [hit.start() + 1 for hit in re.finditer("|".join(map(re.escape, self._control)), text)]

    @cached_property
    def _plain_first(self) -> Tokenizer:
        return _plain_copy(self._tokenizer.backend_tokenizer, set(self._control), inner=False)

    @cached_property
    def _plain_inner(self) -> Tokenizer:
        return _plain_copy(self._tokenizer.backend_tokenizer, set(self._control), inner=True)


def control_tokens(preprocessor: Preprocessor) -> dict[str, int]:
    """The tokens that text of a row must never become, longest first, with their ids."""
    tokenizer = preprocessor.tokenizer
    found = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = {value: tokenizer.convert_tokens_to_ids(value) for value in tokenizer.all_special_tokens}
    media = {token: tokenizer.convert_tokens_to_ids(token) for token in _media_tokens(preprocessor.processor)}
    known = {token: number for token, number in {**found, **named, **media}.items() if isinstance(number, int)}
    return dict(sorted(known.items(), key=lambda item: -len(item[0])))


def _media_tokens(processor: Any) -> Iterator[str]:
    for kind in ("image", "video", "audio"):
        token = getattr(processor, f"{kind}_token", None)
        if isinstance(token, str):
            yield token


def _trimmed(text: str, offsets: np.ndarray) -> Span:
    """`offsets` without the whitespace at both ends."""
    start, end = int(offsets[0]), int(offsets[1])
    token = text[start:end]
    return start + len(token) - len(token.lstrip()), max(start, end - len(token) + len(token.rstrip()))


def _without_gaps(raw: np.ndarray) -> np.ndarray:
    """Offsets in which whitespace that a tokenizer trims off belongs to the token after it.

    GPT-2-like tokenizers report ` cat` as `cat`, and a token of nothing but whitespace as empty.
    """
    if not len(raw) or (raw[0, 0] == 0 and (raw[1:, 0] <= raw[:-1, 1]).all()):
        return raw
    reached = np.concatenate(([0], np.maximum.accumulate(raw[:-1, 1])))
    return np.stack((np.minimum(raw[:, 0], reached), raw[:, 1]), axis=1)


def _pieces(span: Span, breaks: list[int]) -> list[Span]:
    edges = [span[0], *(span[0] + place for place in breaks), span[1]]
    return [(start, end) for start, end in pairwise(edges) if start < end]


def _plain_copy(backend: Tokenizer, control: set[str], *, inner: bool) -> Tokenizer:
    """A copy of `backend` that reads control tokens as plain text; `inner`: for text that does not come first.

    SentencePiece-like tokenizers put a space before the first text only (`prepend_scheme: first`).
    """
    spec = json.loads(backend.to_str())
    for token in spec["added_tokens"]:
        token["special"] = token["special"] or token["content"] in control
    if inner:
        _never_prepend(spec["pre_tokenizer"])
    copy = Tokenizer.from_str(json.dumps(spec))
    copy.encode_special_tokens = True
    copy.no_padding()
    copy.no_truncation()
    return copy


def _never_prepend(part: Any) -> None:
    if isinstance(part, dict):
        if part.get("prepend_scheme") == "first":
            part["prepend_scheme"] = "never"
        for value in part.values():
            _never_prepend(value)
    elif isinstance(part, list):
        for value in part:
            _never_prepend(value)
