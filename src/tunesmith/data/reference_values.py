"""Log-probabilities by a reference, kept for every row in one SQLite file, and given to the batches that need them.

A value is found again by the row's content and holds for the media that its files had; the file is one reference's.
Knows no models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from tunesmith.data.batches.batch import Answers, Batch
from tunesmith.data.cache.cache_file import CacheFile
from tunesmith.data.cache.media_stamps import light_media, stamps_of
from tunesmith.data.encoding.encoded import RowMedia
from tunesmith.data.examples import Examples
from tunesmith.data.problem import RowError
from tunesmith.data.store.address import RowRef
from tunesmith.errors import DataError, RunError
from tunesmith.media.download import UrlLimits

_STAMP_BYTES = 8
_FORMATS: Mapping[bytes, str] = {b"f": "<f4", b"d": "<f8"}
_NO_EXAMPLE = b"-"
"""In place of a format: the row gives no example, so that there is nothing to compute."""
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class StoredValues:
    """One reference's values for the rows of `examples`.

    has_media: whether rows can have media, whose files a value depends on too
    """

    file: CacheFile
    examples: Examples
    limits: UrlLimits
    has_media: bool

    def lacking(self, refs: Iterable[RowRef]) -> list[RowRef]:
        """Those of `refs` that have no value yet, or one for other media, in their order, each once."""
        found: dict[RowRef, None] = {}
        refs = iter(refs)
        while block := list(islice(refs, _ROWS_AT_ONCE)):
            key_of = {ref: self.examples.key(ref) for ref in block}
            values = self.file.find(list(dict.fromkeys(key_of.values())))
            lacking = (ref for ref, key in key_of.items() if values.get(key, b"")[:_STAMP_BYTES] != self._stamp(ref))
            found |= dict.fromkeys(lacking)
        return list(found)

    def keep(self, values: Mapping[RowRef, np.ndarray | None]) -> bool:
        """Store values, float32 or float64, each of the tokens of a row's answers behind each other; None for a row
        without an example. Whether they are there afterwards: a full disk, say, drops them.
        """
        packed = {self.examples.key(ref): self._stamp(ref) + _pack(value) for ref, value in values.items()}
        self.file.keep(packed)
        return self.file.find(list(packed)).keys() == packed.keys()

    def give(self, batch: Batch) -> Batch:
        """`batch` with `Answers.reference`. Raises RunError, naming the row, where a value is not there or not its."""
        answers = batch.answers
        if answers is None:
            return batch
        values, own = self._find(batch), tokens_of_rows(batch)
        mismatched = batch.mismatched
        if mismatched is not None:
            assert mismatched.answers is not None
            others = [value[length:] for value, length in zip(values, own, strict=True)]
            mismatched = replace(mismatched, answers=_with_reference(mismatched.answers, others))
        values = [value[:length] for value, length in zip(values, own, strict=True)]
        return replace(batch, answers=_with_reference(answers, values), mismatched=mismatched)

    def _find(self, batch: Batch) -> list[np.ndarray]:
        """The values of the examples of `batch`, in their order, those of their mismatched answers among them."""
        keys = [self.examples.key(ref) for ref in batch.refs if ref is not None]
        found = self.file.find(list(dict.fromkeys(keys)))
        values = [_unpack(found[key][_STAMP_BYTES:]) if key in found else None for key in keys]
        needed = np.array(tokens_of_rows(batch))
        if batch.mismatched is not None:
            needed += tokens_of_rows(batch.mismatched)
        for value, num_tokens, source in zip(values, needed, batch.sources, strict=True):
            if value is None or len(value) != num_tokens:
                raise RunError(
                    f"{source}: what the row is compared with was computed before the training, and {self.file.path} "
                    "has it no longer, or that of another row; resume_from_checkpoint: true computes it and goes on"
                )
        return [value for value in values if value is not None]

    def _stamp(self, ref: RowRef) -> bytes:
        """What the files of the row's media are now; of a row that cannot be read, what no row has."""
        if not self.has_media:
            return bytes(_STAMP_BYTES)
        try:
            conversation = self.examples.conversation(ref)
            pairs = zip(conversation.media(), light_media(conversation), strict=True)
            stamps = repr([stamps_of(media, self.limits) for media, light in pairs if not isinstance(light, RowMedia)])
        except (RowError, DataError) as error:
            stamps = str(error)
        return hashlib.blake2b(stamps.encode(), digest_size=_STAMP_BYTES).digest()


def tokens_of_rows(batch: Batch) -> list[int]:
    """Supervised tokens of all answers of each example of `batch`; the mismatched ones are another batch."""
    assert batch.answers is not None
    counts = batch.answers.num_tokens
    each = len(counts) // max(len(batch.sources), 1)
    return [sum(counts[start : start + each]) for start in range(0, len(counts), each)]


def _with_reference(answers: Answers, values: Sequence[np.ndarray]) -> Answers:
    return replace(answers, reference=torch.from_numpy(np.concatenate(values)))


def _pack(value: np.ndarray | None) -> bytes:
    if value is None:
        return _NO_EXAMPLE
    code = next(code for code, name in _FORMATS.items() if value.dtype == np.dtype(name))
    return code + value.tobytes()


def _unpack(packed: bytes) -> np.ndarray | None:
    name = _FORMATS.get(packed[:1])
    return None if name is None else np.frombuffer(packed[1:], name).copy()
