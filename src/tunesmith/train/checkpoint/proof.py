"""What a resumed run says of itself: whether it is where its checkpoint was, and what differs where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tunesmith.train.checkpoint.fingerprint import Fingerprint, NextBatch

_MATCHES = "matches"
_BEYOND = "not in the checkpoint, which was the last of its run"


@dataclass(frozen=True, slots=True)
class ResumeProof:
    """What was found of each part, in words; `_MATCHES` where all is as it was.

    engines: what it was written by and what reads it, where these are not the same
    """

    step: int
    weights: str
    optimizer: str
    position: str
    next_batch: str
    engines: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is in doubt."""
        return {self.weights, self.optimizer, self.position, self.next_batch} <= {_MATCHES, _BEYOND}

    def describe(self) -> str:
        """One line for the user."""
        parts = {
            "weights": self.weights,
            "optimiser": self.optimizer,
            "data position": self.position,
            "next batch": self.next_batch,
        }
        matching = [name for name, found in parts.items() if found == _MATCHES]
        others = [f"{name}: {found}" for name, found in parts.items() if found != _MATCHES]
        said = f"{_enumerate(matching)} {'matches' if len(matching) == 1 else 'match'} the checkpoint"
        return f"resumed at step {self.step}: {'; '.join([*([said] if matching else []), *others, *self._beside()])}"

    def to_json(self) -> dict[str, Any]:
        """Plain types, for the manifest."""
        return asdict(self)

    def _beside(self) -> list[str]:
        return [] if self.engines is None else [self.engines]


def prove(
    step: int, kept: Fingerprint | None, following: Mapping[int, NextBatch] | None, *, engine: str, num_processes: int
) -> ResumeProof:
    """What is known of a run that `restore` has brought to `kept` without a complaint, and whose next step takes
    `following`, over all processes.
    """
    if kept is None:
        unknown = "not compared, the checkpoint has no fingerprint"
        return ResumeProof(step, unknown, unknown, unknown, unknown)
    return ResumeProof(
        step,
        *(_MATCHES, _MATCHES, _MATCHES),
        next_batch=_compare(kept.next_step, following),
        engines=_engines(kept, engine, num_processes),
    )


def _compare(kept: Mapping[int, NextBatch] | None, now: Mapping[int, NextBatch] | None) -> str:
    if kept is None:
        return _MATCHES if now is None else _BEYOND
    if now is None:
        return "there is none any more: the run ends here now, or its rows cannot be used"
    differing = [number for number in sorted(kept.keys() | now.keys()) if kept.get(number) != now.get(number)]
    return _explain(kept.get(differing[0]), now.get(differing[0])) if differing else _MATCHES


def _explain(kept: NextBatch | None, now: NextBatch | None) -> str:
    """What is different in a micro-batch."""
    if kept is None or now is None:
        return "has more or fewer micro-batches than the checkpoint's"
    if kept.rows != now.rows:
        return f"begins at other rows ({_some(now.rows)}; in the checkpoint {_some(kept.rows)}): the data changed"
    if kept.ids != now.ids:
        return f"{_some(now.rows)} have other text or ids now: the data file or the template changed"
    return f"{_some(now.rows)} have other pictures, videos or sounds now: their files changed"


def _engines(kept: Fingerprint, engine: str, num_processes: int) -> str | None:
    if (kept.engine, kept.num_processes) == (engine, num_processes):
        return None
    return (
        f"written by {_count(kept.num_processes)} ({kept.engine}), goes on with {_count(num_processes)} ({engine}): "
        "the same rows in every step, sums in another order"
    )


def _count(num_processes: int) -> str:
    return f"{num_processes} process{'es' * (num_processes != 1)}"


def _some(rows: tuple[str, ...]) -> str:
    return ", ".join(rows[:2]) + (", …" if len(rows) > 2 else "")


def _enumerate(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
