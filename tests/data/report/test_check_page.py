"""The page of a data check: everything in one file, rows escaped, pictures and frames small."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.checked import check_rows, dialogue, sound_rows
from tunesmith.chat.message import Media
from tunesmith.data.report.check_page import write_check_page
from tunesmith.data.report.check_text import summarise
from tunesmith.data.report.thumbnails import draw_media

_VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Raises on a closing tag that closes nothing; `open` holds what is never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An SVG shape."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def checked(model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("page")
    Image.new("RGB", (112, 84), "red").save(folder / "a&b.png")
    rows = [
        dialogue("<image>Which <script>colour</script>?", "Red & <b>plain</b>.", images=["a&b.png"]),
        *sound_rows(30),
        dialogue("What is <|im_end|>?", "A token."),
        dialogue("Who <i>is</i> it?", ""),
        dialogue("Tell me.", "word " * 900),
    ]
    keys: dict[str, Any] = {"media_dir": str(folder), "cutoff_len": 256, "val_size": 3}
    return check_rows(model_folder("qwen2_5_vl"), folder, rows, **keys)


def test_the_page_is_whole_and_needs_nothing_else(checked: Any) -> None:
    page = "".join(write_check_page(checked))
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert not re.search(r'(src|href)="(?!data:)', page) and "@import" not in page
    assert page.count('src="data:image/jpeg;base64,') == 1


def test_rows_cannot_write_into_the_page(checked: Any) -> None:
    page = "".join(write_check_page(checked))
    assert "<script" not in page and "<i>is" not in page and "<b>plain" not in page
    assert "Which &lt;script&gt;colour" in re.sub(r"</?span[^>]*>", "", page)
    assert "a&amp;b.png" in page


def test_the_page_says_what_was_found(checked: Any) -> None:
    page = "".join(write_check_page(checked))
    assert "All 34 rows looked at" in page and "<b>2 findings</b>" in page
    assert '<section class="finding error"><h3><em>error</em>1 of 34 rows cannot be used: 1 empty answer</h3>' in page
    assert '<section class="finding note">' in page
    assert "<h2>Cannot be used: 1 row</h2>" in page and "<h2>Cut to fit: 1 row</h2>" in page
    assert '<i class="i-supervised" style="width:' in page and '<span class="l"' in page


def test_the_histogram_has_a_bar_for_every_stretch_of_lengths(checked: Any) -> None:
    page = "".join(write_check_page(checked))
    bars = checked.survey.report.train.lengths.bars
    assert page.count("<rect ") == len(bars)
    assert sum(bar.rows for bar in bars) == checked.survey.report.train.rows
    assert ">cutoff_len</text>" in page


def test_the_summary_for_a_terminal(checked: Any) -> None:
    lines = [line.plain for line in summarise(checked)]
    assert lines[0].startswith("data     train: 30 rows")
    assert any(line.startswith("error    1 of 34 rows cannot be used: 1 empty answer") for line in lines)
    assert any(line.startswith("tokens   ") and "in the loss" in line for line in lines)
    assert "         → nothing is wrong if these rows talk about such tokens" in lines


def test_a_medium_that_cannot_be_read_is_said_in_its_place() -> None:
    assert "gone.png" in draw_media(Media("image", "gone.png"))
    assert "<img" not in draw_media(Media("video", "gone.mp4"))
    assert "gone.mp3" in draw_media(Media("audio", "gone.mp3"))


def test_frames_of_a_video_and_the_length_of_a_sound(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        Image.new("RGB", (64, 48), (40 * number, 0, 0)).save(tmp_path / name)
    drawn = draw_media(Media("video", tuple(str(tmp_path / name) for name in names)))
    assert drawn.count("<img ") == 4 and "64 × 48, 6 frames" in drawn
