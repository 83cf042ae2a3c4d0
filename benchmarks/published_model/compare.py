"""How two sides' answers differ, and whether that is more than rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

Answer = Mapping[str, torch.Tensor]
PATCH_TOLERANCE = 1e-5
"""Patches are numbers between -1 and 1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One question's. Numbers are the largest absolute differences; None where there is nothing to compare.

    seconds: of a forward pass, theirs and ours
    """

    name: str
    num_ids: int
    first_other_id: int | None
    same_sizes: bool | None
    patches: float | None
    logits: float | None
    largest_logit: float
    same_choice: float | None
    seconds: tuple[float, float]

    def within(self, tolerance: float) -> bool:
        """Whether ids and slices are equal, and patches and logits but for rounding.

        tolerance: for logits, absolute below 1 and as a share of the largest logit above
        """
        if self.first_other_id is not None or self.same_sizes is False or self.logits is None:
            return False
        is_same_picture = self.patches is None or self.patches <= PATCH_TOLERANCE
        return is_same_picture and self.logits <= tolerance * max(1.0, self.largest_logit)

    def row(self, tolerance: float) -> tuple[str, ...]:
        """What stands in the table."""
        other = self.first_other_id
        return (
            self.name,
            str(self.num_ids),
            "equal" if other is None else f"differ at {other}",
            {None: "", True: "equal", False: "differ"}[self.same_sizes],
            "" if self.patches is None else f"{self.patches:.1e}",
            "" if self.logits is None else f"{self.logits:.1e}",
            f"{self.largest_logit:.1f}",
            "" if self.same_choice is None else f"{self.same_choice:.0%}",
            "ok" if self.within(tolerance) else "DIFFERS",
            "{:.3f} / {:.3f}".format(*self.seconds),
        )


HEADER = (
    "question",
    "tokens",
    "ids",
    "slices",
    "patches",
    "logits",
    "largest",
    "same choice",
    "",
    "seconds theirs / ours",
)


def compare(name: str, published: Answer, own: Answer) -> Difference:
    """Their difference. Logits of different texts are not compared, nor patches of different slices."""
    other = _first_other(published["input_ids"], own["input_ids"])
    has_pictures = "tgt_sizes" in published or "tgt_sizes" in own
    same_sizes = has_pictures and _is_equal(published.get("tgt_sizes"), own.get("tgt_sizes"))
    pair = (published["logits"], own["logits"])
    return Difference(
        name=name,
        num_ids=len(published["input_ids"]),
        first_other_id=other,
        same_sizes=same_sizes if has_pictures else None,
        patches=_largest(published["pixel_values"], own["pixel_values"]) if same_sizes else None,
        logits=_largest(*pair) if other is None else None,
        largest_logit=published["logits"].abs().max().item(),
        same_choice=None if other is not None else _agreement(*pair),
        seconds=(published["seconds"].item(), own["seconds"].item()),
    )


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _first_other(first: torch.Tensor, second: torch.Tensor) -> int | None:
    """The first place where two rows of ids differ; the shorter one's end counts as one."""
    length = min(len(first), len(second))
    others = (first[:length] != second[:length]).nonzero()
    if len(others):
        return int(others[0])
    return None if len(first) == len(second) else length


def _is_equal(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    return first is not None and second is not None and torch.equal(first, second)


def _largest(first: torch.Tensor, second: torch.Tensor) -> float:
    width = min(first.shape[-1], second.shape[-1])
    return (first[..., :width].double() - second[..., :width].double()).abs().max().item()


def _agreement(first: torch.Tensor, second: torch.Tensor) -> float:
    """Share of positions whose likeliest token is the same."""
    return (first.argmax(dim=-1) == second.argmax(dim=-1)).double().mean().item()
