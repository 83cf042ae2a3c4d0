"""Positions of a packed sequence are those of each sample alone, on every axis the model has."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from tests.models.packed_models import tiny_text_model
from tunesmith.models.packing.positions import find_axis_positions, restarting_positions

TEXT, IMAGE, VIDEO = 0, 1, 2


def sample(*spans):
    """(T,) token types of spans (kind, tokens)."""
    return torch.cat([torch.full((tokens,), kind) for kind, tokens in spans])


def test_samples_count_from_zero():
    assert restarting_positions((3, 1, 2)).tolist() == [[0, 1, 2, 0, 0, 1]]


def test_answers_count_on_from_the_end_of_their_beginning():
    assert restarting_positions((3, 9), ((), (3, 4))).tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 2, 3, 4, 5]]


def test_models_with_one_axis_have_no_rule_of_their_own():
    assert find_axis_positions(tiny_text_model("llama")) is None


def test_images_and_videos_are_shared_out_among_the_samples(qwen2_5_vl_folder: Path):
    model = AutoModelForImageTextToText.from_pretrained(qwen2_5_vl_folder)
    samples = [
        sample((TEXT, 2), (IMAGE, 6), (TEXT, 3)),
        sample((TEXT, 4)),
        sample((TEXT, 1), (VIDEO, 12), (TEXT, 2), (IMAGE, 4), (TEXT, 1)),
    ]
    images, videos = torch.tensor([[1, 4, 6], [1, 4, 4]]), torch.tensor([[2, 4, 6]])
    seconds = torch.tensor([0.5])
    inputs = {
        "input_ids": torch.cat(samples)[None] + 5,
        "mm_token_type_ids": torch.cat(samples)[None],
        "image_grid_thw": images,
        "video_grid_thw": videos,
        "second_per_grid_ts": seconds,
        "pixel_values": torch.zeros(40, 1176),
    }
    lengths = [len(types) for types in samples]

    placed = find_axis_positions(model)(inputs, lengths)

    media = [{"image_grid_thw": images[:1]}, {}]
    media.append({"image_grid_thw": images[1:], "video_grid_thw": videos, "second_per_grid_ts": seconds})
    alone = [
        model.model.get_rope_index(types[None] + 5, mm_token_type_ids=types[None], **own)[0]
        for types, own in zip(samples, media, strict=True)
    ]
    assert placed.shape == (4, 1, sum(lengths))
    assert torch.equal(placed[1:], torch.cat(alone, dim=-1))
    assert torch.equal(placed[0], restarting_positions(lengths))
    assert placed[1:, 0, :11].tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7],
    ]


def test_answers_behind_a_picture_count_on_alike_on_every_axis(qwen2_5_vl_folder: Path):
    model = AutoModelForImageTextToText.from_pretrained(qwen2_5_vl_folder)
    beginnings = [sample((TEXT, 1), (IMAGE, 6), (TEXT, 2)), sample((TEXT, 2), (IMAGE, 4))]
    answers = [(3, 5), (4, 1)]
    images = torch.tensor([[1, 4, 6], [1, 4, 4]])

    def lay(number, *tokens):
        return torch.cat([beginnings[number], *(sample((TEXT, count)) for count in tokens)])

    types = torch.cat([lay(0, *answers[0]), lay(1, *answers[1])])[None]
    inputs = {"input_ids": types + 5, "mm_token_type_ids": types, "image_grid_thw": images}
    lengths = [len(lay(number, *answers[number])) for number in (0, 1)]

    placed = find_axis_positions(model)(inputs, lengths, answers)

    expected = []
    for number in (0, 1):
        first, second = (
            model.model.get_rope_index(
                row[None] + 5, mm_token_type_ids=row[None], image_grid_thw=images[number : number + 1]
            )[0]
            for row in (lay(number, count) for count in answers[number])
        )
        expected += [first, second[..., len(beginnings[number]) :]]
    assert torch.equal(placed[1:], torch.cat(expected, dim=-1))
    assert torch.equal(placed[0], restarting_positions(lengths, answers))
