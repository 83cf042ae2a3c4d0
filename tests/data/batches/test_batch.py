"""What a batch's loss is taken over is settled on the CPU."""

from __future__ import annotations

import torch

from tunesmith.chat.message import RowSource
from tunesmith.data.batches.batch import build_batch

IGNORED = -100
SOURCES = (RowSource("rows.json", 0), RowSource("rows.json", 1))


def test_positions_are_flat_and_point_at_the_token_before_each_target() -> None:
    labels = torch.tensor([[7, IGNORED, 8, 9], [IGNORED, 5, IGNORED, IGNORED]])
    batch = build_batch({"input_ids": torch.zeros(2, 4)}, labels, sources=SOURCES, num_tokens=6)
    assert batch.positions.tolist() == [1, 2, 4]
    assert batch.targets.tolist() == [8, 9, 5]
    assert batch.num_supervised == 3
    assert batch.labels[:, 0].tolist() == [IGNORED, IGNORED]
    assert labels[0, 0] == 7, "the caller's labels are not written to"


def test_a_batch_without_supervised_tokens_has_no_positions() -> None:
    batch = build_batch({}, torch.full((2, 3), IGNORED), sources=SOURCES, num_tokens=6)
    assert batch.num_supervised == 0
    assert batch.positions.shape == batch.targets.shape == (0,)


def test_only_packed_batches_are_completed() -> None:
    inputs = {"input_ids": torch.zeros(1, 5)}
    labels = torch.arange(5)[None]
    padded = build_batch(inputs, labels, sources=SOURCES, num_tokens=5)
    packed = build_batch(inputs, labels, sources=SOURCES, num_tokens=5, lengths=(2, 3))

    def complete(inputs, lengths):
        return {**inputs, "lengths": torch.tensor(lengths)}

    assert padded.completed(complete) is padded
    completed = packed.completed(complete)
    assert completed.inputs["lengths"].tolist() == [2, 3]
    assert completed.targets is packed.targets and completed.lengths == (2, 3)


def test_everything_moves_to_the_device() -> None:
    inputs = {"input_ids": torch.zeros(1, 5), "pixel_values": torch.zeros(2, 3)}
    batch = build_batch(inputs, torch.arange(5)[None], sources=SOURCES, num_tokens=5, lengths=(2, 3))
    moved = batch.to("meta")
    tensors = (*moved.inputs.values(), moved.labels, moved.positions, moved.targets)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.num_supervised, moved.num_tokens, moved.lengths, moved.sources) == (4, 5, (2, 3), SOURCES)
