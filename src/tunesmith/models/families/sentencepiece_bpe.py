"""A sentencepiece model of byte-pair encoding as a fast tokenizer that gives the same ids and text offsets.

Knows no model family; which tokens are special is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE

_SPACE = "▁"
"""What sentencepiece writes for a space."""

_PROBE = "a  b Ａ"
"""Text that spaces squeezed, or characters normalised, would change."""


def read_sentencepiece(file: Path, added: Mapping[int, AddedToken]) -> Tokenizer:
    """The tokenizer of a tokenizer.model; `added` are its special tokens by id, which replace pieces of other names.

    Raises ValueError for a model that is no byte-pair encoding, or that changes text before it encodes it.
    """
    pieces = SentencePieceProcessor(model_file=str(file))
    _check_text_stays(pieces, file)
    names = [pieces.id_to_piece(number) for number in range(len(pieces))]
    vocab = {(added[number].content if number in added else name): number for number, name in enumerate(names)}
    text = [number for number in range(len(pieces)) if number not in added and _is_text(pieces, number)]
    scores = {names[number]: pieces.get_score(number) for number in text}
    unknown = names[pieces.unk_id()]
    tokenizer = Tokenizer(BPE(vocab, list(_merges(scores)), unk_token=unknown, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(_normalizers(pieces))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([added[number] for number in sorted(added)])
    return tokenizer


def _check_text_stays(pieces: SentencePieceProcessor, file: Path) -> None:
    written = pieces.normalize(_PROBE).removeprefix(_SPACE)
    if written != _PROBE.replace(" ", _SPACE):
        raise ValueError(f"{file} rewrites text before encoding it ({_PROBE!r} becomes {written!r}), which is not read")
    if not any(pieces.is_byte(number) for number in range(len(pieces))):
        raise ValueError(f"{file} has no pieces for single bytes, which is not read")


def _is_text(pieces: SentencePieceProcessor, number: int) -> bool:
    return not (pieces.is_control(number) or pieces.is_unknown(number) or pieces.is_byte(number))


def _merges(scores: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Every split of every piece into two others, best score first, as sentencepiece merges them."""
    found = [
        (-score, -cut, len(piece), piece[:cut], piece[cut:])
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    found.sort(key=lambda merge: (merge[0], merge[1], -merge[2]))
    return ((left, right) for *_, left, right in found)


def _normalizers(pieces: SentencePieceProcessor) -> list[normalizers.Normalizer]:
    begins_with_space = pieces.normalize("a").startswith(_SPACE)
    replace = normalizers.Replace(" ", _SPACE)
    return [normalizers.Prepend(_SPACE), replace] if begins_with_space else [replace]
