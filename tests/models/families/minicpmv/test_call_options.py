from __future__ import annotations

import pytest

from tunesmith.models.families.minicpmv.call_options import CallOptions, sort_options

TEXT = {"padding": True, "return_tensors": "pt", "truncation": False}


def test_without_options_texts_are_padded_to_tensors() -> None:
    assert sort_options({}) == CallOptions(text=TEXT)


def test_flat_options_go_to_what_they_are_for() -> None:
    sorted_options = sort_options(
        {"max_slice_nums": 4, "use_image_id": False, "fps": 2.0, "sampling_rate": 16_000, "padding_side": "left"}
    )

    assert sorted_options == CallOptions(
        max_slice_nums=4,
        use_image_id=False,
        videos={"fps": 2.0},
        audio={"sampling_rate": 16_000},
        text={**TEXT, "padding_side": "left"},
    )


def test_those_of_a_kind_win() -> None:
    given = {"max_slice_nums": 4, "images_kwargs": {"max_slice_nums": 9}, "videos_kwargs": {"max_slice_nums": 1}}

    assert sort_options(given) == CallOptions(max_slice_nums=9, videos={"max_slice_nums": 1}, text=TEXT)


def test_none_is_the_default_but_asks_for_lists_as_return_tensors() -> None:
    assert sort_options({"max_slice_nums": None, "max_length": None, "return_tensors": None}) == CallOptions(
        text={**TEXT, "return_tensors": None}
    )


def test_a_length_cuts_as_in_the_published_processors() -> None:
    assert sort_options({"max_length": 100}).text == {**TEXT, "truncation": True, "max_length": 100}
    assert sort_options({"max_length": 100, "truncation": False}).text["truncation"] is False
    assert sort_options({"text_kwargs": {"max_length": 100}}).text["truncation"] is True


def test_what_only_other_processors_know_is_left_out() -> None:
    assert sort_options({"do_pad": True, "return_mm_token_type_ids": False}) == CallOptions(text=TEXT)


def test_temporal_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="temporal_ids are not taken: give the frames as `videos`"):
        sort_options({"temporal_ids": [[[0, 1]]]})
