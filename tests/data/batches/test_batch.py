"""What a batch's loss is taken over is settled on the CPU."""

from __future__ import annotations

import socket
import threading
from dataclasses import fields, replace

import torch
from torch import Tensor

from tunesmith.chat.message import RowSource
from tunesmith.data.batches.answers import find_answers
from tunesmith.data.batches.batch import Answers, Batch, build_batch
from tunesmith.data.feed.wire import receive, send
from tunesmith.data.store.address import RowRef

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


def test_the_end_of_a_beginning_predicts_the_first_token_of_every_answer() -> None:
    tokens = [IGNORED, IGNORED, IGNORED, 4, 5, 6, IGNORED, IGNORED, 9, IGNORED, 7]
    batch = build_batch(
        {}, torch.tensor([tokens]), sources=SOURCES, num_tokens=11, lengths=(6, 5), branches=((1, 2), (1, 1, 1))
    )
    assert batch.targets.tolist() == [4, 5, 6, 9, 7]
    assert batch.positions.tolist() == [2, 2, 4, 7, 7]
    assert batch.branches == ((1, 2), (1, 1, 1))


def test_only_packed_batches_are_completed() -> None:
    inputs = {"input_ids": torch.zeros(1, 5)}
    labels = torch.arange(5)[None]
    padded = build_batch(inputs, labels, sources=SOURCES, num_tokens=5)
    packed = build_batch(inputs, labels, sources=SOURCES, num_tokens=5, lengths=(2, 3))

    def complete(inputs, lengths, branches):
        assert branches == ()
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


def judged_batch() -> Batch:
    """With everything that a batch can have, the same pixels in it and in the batch of other rows' answers."""
    pixels, labels = torch.rand(40, 300), torch.tensor([[IGNORED, 4, 5, IGNORED, 6]])
    inputs = {"input_ids": torch.arange(5)[None], "pixel_values": pixels}
    batch = build_batch(inputs, labels, sources=SOURCES, num_tokens=5, lengths=(3, 2))
    answers = find_answers(labels, ends=(2, 4), verdicts=(True, False))
    return replace(
        batch,
        answers=replace(answers, reference=torch.rand(3, dtype=torch.float64)),
        mismatched=build_batch(
            {"input_ids": torch.arange(4)[None], "pixel_values": pixels}, labels[:, :4], sources=SOURCES, num_tokens=4
        ),
        refs=(RowRef(0, 0, 3, (120, 40)), None),
    )


def tensors_of(part: object) -> dict[str, Tensor]:
    """Every tensor in a batch by its place."""
    if isinstance(part, Tensor):
        return {"": part}
    if isinstance(part, dict):
        items = list(part.items())
    elif isinstance(part, Batch | Answers):
        items = [(field.name, object.__getattribute__(part, field.name)) for field in fields(part)]
    else:
        items = []
    return {f"{name}.{inner}": tensor for name, value in items for inner, tensor in tensors_of(value).items()}


def test_answers_and_other_rows_answers_move_too_and_shared_pixels_once() -> None:
    moved = judged_batch().to("meta")
    found = tensors_of(moved)
    assert len(found) == 14
    assert {tensor.device.type for tensor in found.values()} == {"meta"}
    assert moved.mismatched is not None
    assert moved.mismatched.inputs["pixel_values"] is moved.inputs["pixel_values"]


def test_a_batch_comes_out_of_a_worker_as_it_went_in() -> None:
    batch = judged_batch()
    here, there = socket.socketpair()
    sender = threading.Thread(target=send, args=(there, batch))
    sender.start()
    received: Batch = receive(here)
    sender.join()
    sent, found = tensors_of(batch), tensors_of(received)
    assert sent.keys() == found.keys()
    assert all(torch.equal(sent[name], found[name]) for name in sent)
    assert received.answers is not None and received.mismatched is not None
    assert received.answers.num_tokens == (2, 1)
    assert received.refs == batch.refs
    assert received.mismatched.inputs["pixel_values"] is received.inputs["pixel_values"], "sent once"


def test_the_batch_of_other_rows_answers_is_completed_with_it() -> None:
    batch = judged_batch()
    assert batch.mismatched is not None
    packed = replace(batch, mismatched=replace(batch.mismatched, lengths=(4,)))
    completed = packed.completed(lambda inputs, lengths, branches: {**inputs, "lengths": torch.tensor(lengths)})
    assert completed.inputs["lengths"].tolist() == [3, 2]
    assert completed.mismatched is not None
    assert completed.mismatched.inputs["lengths"].tolist() == [4]
