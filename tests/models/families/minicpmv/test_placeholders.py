from __future__ import annotations

from tunesmith.models.families.minicpmv.placeholders import Marks, audio_text, frames_text, image_text, read_marks

MARKS = Marks(num_tokens=2)
RUN = "<image><unk><unk></image>"
CELL = "<slice><unk><unk></slice>"


def test_a_picture_in_one_piece() -> None:
    assert image_text(MARKS, None, number=3) == f"<image_id>3</image_id>{RUN}"
    assert image_text(MARKS, None, number=None) == RUN


def test_a_grid_is_columns_beside_each_other_and_rows_under_each_other() -> None:
    assert image_text(MARKS, (3, 2), number=None) == f"{RUN}{CELL}{CELL}{CELL}\n{CELL}{CELL}{CELL}"
    assert image_text(MARKS, (1, 2), number=0) == f"<image_id>0</image_id>{RUN}{CELL}\n{CELL}"


def test_groups_of_frames_have_a_line_each() -> None:
    assert frames_text(MARKS, 3) == f"{RUN}\n{RUN}\n{RUN}"
    assert frames_text(MARKS, 2, (2, 1)) == f"{RUN}{CELL}{CELL}\n{RUN}{CELL}{CELL}"


def test_a_sound() -> None:
    assert audio_text(3) == "<|audio_start|><unk><unk><unk><|audio_end|>"


def test_marks_are_read_by_their_published_names() -> None:
    assert read_marks({}) == Marks(num_tokens=64)
    assert read_marks({"image_feature_size": 96, "im_start": "<img>", "unk": "<u>", "version": 2.6}) == Marks(
        num_tokens=96, image_start="<img>", unk="<u>"
    )
