"""What keeps processes in step changes nothing: loss and gradients with carriers are those without, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from tests.invariants.packed_rows import WITHOUT_TEMPLATE, Given
from tests.invariants.paired_rows import GivenPairs, float64_throughout, logits_of
from tests.tiny import AUDIO_KINDS, VISION_KINDS, tiny_folder
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.batches.ballast import Ballast, Kinds, build_ballast
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.models.packing.positions import find_axis_positions
from tunesmith.models.packing.proof import Packing
from tunesmith.models.packing.split_attention import split_attention

MEDIA_KINDS = [*VISION_KINDS, *AUDIO_KINDS]
NOT_TOGETHER = {"glm4v"}
"""Spells videos with the token of pictures, so that no batch can have both."""
Gradients = dict[str, Tensor]


class Rows:
    """The rows of one tiny model for one stage, with what they may be completed with."""

    def __init__(self, given: Given, rows: RowKind) -> None:
        self.given = given
        data = DataSettings(template=WITHOUT_TEMPLATE.get(given.kind), cutoff_len=100_000)
        template = build_template(given.preprocessor, data, rows)
        self.ballast: Ballast = build_ballast(
            Encoder(given.preprocessor, template, data, rows), MediaInputs(given.preprocessor)
        )

    @property
    def kinds(self) -> Kinds:
        """All that the model runs parts of its own for."""
        kinds = frozenset(run for runs in self.ballast.runs.values() for run in runs)
        return kinds - {"video"} if self.given.kind in NOT_TOGETHER else kinds

    def sample(self, index: int) -> Encoded:
        return self.given.examples[index]

    def batch(self, model: nn.Module, samples: Sequence[Encoded], *, packed: bool, shared: bool = False) -> Batch:
        """In float64, completed for split attention where it is packed."""
        if isinstance(self.given, GivenPairs):
            collator = self.given.collator(packed=packed, shared=shared)
        else:
            collator = self.given.collator(packed=packed)
        batch = collator(samples, [self.given.media_of(sample) for sample in samples])
        batch = batch.completed(Packing(splits=True, axes=find_axis_positions(model)))
        return in_float64(batch)

    def with_and_without(self, model: nn.Module, index: int, **layout: bool) -> tuple[Batch, Batch]:
        """A batch of one row, plain, and with a carrier of every kind of media that it lacks."""
        sample = self.sample(index)
        return (
            self.batch(model, [sample], **layout),
            self.batch(model, self.ballast.completed([sample], self.kinds), **layout),
        )


def in_float64(batch: Batch) -> Batch:
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in batch.inputs.items()}
    return replace(batch, inputs=inputs, mismatched=None if batch.mismatched is None else in_float64(batch.mismatched))


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, RowKind], Rows]:
    folder_of = cache(lambda kind: tiny_folder(kind, tmp_path_factory.mktemp(kind)))

    def build(kind: str, rows: RowKind) -> Rows:
        given = Given if rows in ("conversations", "documents") else GivenPairs
        return Rows(given(kind, folder_of(kind)), rows)

    return build


def log_probabilities(model: nn.Module, batch: Batch) -> tuple[Tensor, Gradients]:
    """Of every supervised token, and all gradients of a weighted sum of them."""
    model.zero_grad()
    with float64_throughout(model):
        logits = logits_of(model, batch).flatten(0, 1)
        found = torch.log_softmax(logits[batch.positions], dim=-1).gather(1, batch.targets[:, None])[:, 0]
        weights = torch.linspace(0.5, 1.5, len(found), dtype=torch.float64)
        (found @ weights).backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return found.detach(), gradients


def assert_carried(model: nn.Module, plain: Batch, carried: Batch) -> None:
    """Equal but for the rounding of float64; what the plain batch does not run has a gradient of exactly 0."""
    assert carried.inputs["input_ids"].numel() > plain.inputs["input_ids"].numel()
    assert (carried.sources, carried.refs) == (plain.sources, plain.refs)
    assert carried.num_tokens == plain.num_tokens
    assert torch.equal(carried.targets, plain.targets)
    expected, gradients = log_probabilities(model, plain)
    found, carried_gradients = log_probabilities(model, carried)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in carried_gradients.items():
        other = gradients.get(name)
        if other is None:
            assert not gradient.any(), name
        else:
            assert (gradient - other).abs().max() <= 1e-12 * other.abs().max() + 1e-15 * largest, name
    assert gradients.keys() <= carried_gradients.keys()


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_carriers_leave_rows_as_they_are(kind: str, rows_of: Callable[[str, RowKind], Rows]) -> None:
    rows = rows_of(kind, "conversations")
    model = rows.given.model()
    padded = rows.with_and_without(model, 1, packed=False)
    assert_carried(model, *padded)
    assert split_attention(model)
    assert_carried(model, *rows.with_and_without(model, 1, packed=True))
    with_others = [rows.batch(model, samples, packed=True) for samples in _beside_media(rows)]
    if len(with_others) == 2:
        assert_carried(model, *with_others)


def _beside_media(rows: Rows) -> list[Sequence[Encoded]]:
    """A row with media, plain and with a carrier of a kind that it lacks; () where it lacks none."""
    sample = rows.sample(0)
    missing = rows.kinds - rows.ballast.kinds_of([sample])
    return [[sample], rows.ballast.completed([sample], rows.kinds)] if missing else []


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_carriers_leave_pairs_as_they_are(kind: str, rows_of: Callable[[str, RowKind], Rows]) -> None:
    rows = rows_of(kind, "pairs")
    model = rows.given.model()
    plain, carried = rows.with_and_without(model, 1, packed=False)
    assert_carried(model, plain, carried)
    assert_same_answers(plain, carried)
    assert split_attention(model)
    for shared in (False, True):
        plain, carried = rows.with_and_without(model, 1, packed=True, shared=shared)
        assert_carried(model, plain, carried)
        assert_same_answers(plain, carried)


def assert_same_answers(plain: Batch, carried: Batch) -> None:
    assert plain.answers is not None and carried.answers is not None
    assert carried.answers.num_tokens == plain.answers.num_tokens
    assert torch.equal(carried.answers.owner, plain.answers.owner)
    rows = [
        batch.inputs["input_ids"].flatten()[answers.ends] for batch in (plain, carried) if (answers := batch.answers)
    ]
    assert torch.equal(*rows)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3", "minicpmv_2_6", "qwen2_5_omni"])
@pytest.mark.parametrize("packed", [True, False])
def test_judged_answers_have_their_carriers_twice(
    kind: str, packed: bool, rows_of: Callable[[str, RowKind], Rows]
) -> None:
    rows = rows_of(kind, "verdicts")
    model = rows.given.model()
    if packed:
        assert split_attention(model)
    sample = replace(rows.sample(1), verdict=True)
    plain, carried = (
        rows.batch(model, samples, packed=packed)
        for samples in ([sample], rows.ballast.completed([sample], rows.kinds))
    )
    assert plain.mismatched is not None and carried.mismatched is not None
    assert carried.mismatched.inputs.keys() == carried.inputs.keys()
    for one, other in ((plain, carried), (plain.mismatched, carried.mismatched)):
        assert_same_answers(one, other)
        found, expected = (log_probabilities(model, batch)[0] for batch in (other, one))
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert carried.answers is not None and carried.answers.verdicts is not None
    assert carried.answers.verdicts.tolist() == [True]
