"""What a checkpoint holds, in a few digests that a resumed run can take of itself and compare.

Tensors count by name and by the sum of their bits (`bits`), so that engines which cut them otherwise, on another number
of processes, come to the same digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class NextBatch:
    """The micro-batch that comes next under one number of its step.

    rows:  where its rows stand, for people
    ids:   digest of its samples' ids and labels
    media: digest of its pictures', videos' and sounds' bytes
    """

    rows: tuple[str, ...]
    ids: str
    media: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of a run between two steps.

    tensors:   sums of the bits of every weight that trains and of the optimiser's state, by "state/weight's name"
    schedule:  digest of how far schedule, gradient scaler and the optimiser's counters have come
    engine:    what the run was made with, and on how many processes
    next_step: the micro-batches of the next step by number; None where there is none, or none could be made
    """

    tensors: Mapping[str, str]
    schedule: str
    engine: str
    num_processes: int
    next_step: Mapping[int, NextBatch] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        following = self.next_step
        batches = None if following is None else {str(number): asdict(batch) for number, batch in following.items()}
        return {**asdict(replace(self, next_step=None)), "next_step": batches}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Fingerprint:
        """The inverse of to_json. Raises KeyError, TypeError or ValueError for anything else."""
        batches = content["next_step"]
        following = None
        if batches is not None:
            following = {
                int(number): NextBatch(tuple(batch["rows"]), batch["ids"], batch["media"])
                for number, batch in batches.items()
            }
        return cls(
            dict(content["tensors"]), content["schedule"], content["engine"], int(content["num_processes"]), following
        )


def digest_of(content: Any) -> str:
    """Of plain types, whatever the order of their keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_bytes(parts: Iterable[bytes]) -> str:
    """Of bytes one after another, with their lengths."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
