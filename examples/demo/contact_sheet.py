"""A PNG of pictures with what the model says about each, right answers green and wrong ones red."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from examples.demo.score import Answered

COLUMNS, ROWS = 3, 4
CARD = (440, 236)
MARGIN = 20
ZOOM = 168

_PAPER, _BACKGROUND = "#ffffff", "#eceff3"
_INK, _FAINT, _RIGHT, _WRONG = "#1f2933", "#7b8794", "#1b873f", "#c92a2a"


def write_contact_sheet(path: Path, answered: Sequence[Answered], *, title: str) -> None:
    """Write `path` with the first COLUMNS * ROWS pictures of `answered`: nothing is picked by hand."""
    by_picture: dict[int, list[Answered]] = {}
    for each in answered:
        by_picture.setdefault(id(each.scene), []).append(each)
    width = COLUMNS * (CARD[0] + MARGIN) + MARGIN
    height = ROWS * (CARD[1] + MARGIN) + MARGIN + 50
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    ImageDraw.Draw(sheet).text((MARGIN + 2, MARGIN), title, font=_font(22, bold=True), fill=_INK)
    for index, answers in enumerate(list(by_picture.values())[: COLUMNS * ROWS]):
        row, column = divmod(index, COLUMNS)
        place = (MARGIN + column * (CARD[0] + MARGIN), MARGIN + 50 + row * (CARD[1] + MARGIN))
        sheet.paste(_draw_card(answers), place)
    sheet.save(path, optimize=True)


def _draw_card(answers: Sequence[Answered]) -> Image.Image:
    """One picture, the short questions and answers to its right, the sentence below."""
    card = Image.new("RGB", CARD, _PAPER)
    pen = ImageDraw.Draw(card)
    card.paste(answers[0].scene.picture.resize((ZOOM, ZOOM), Image.Resampling.LANCZOS), (14, 14))
    pen.rectangle((13, 13, 14 + ZOOM, 14 + ZOOM), outline="#d5dae1")
    *short, sentence = answers
    for line, each in enumerate(short):
        top = 16 + line * 43
        pen.text((14 + ZOOM + 18, top), each.question.text, font=_font(14), fill=_FAINT)
        _write_answer(pen, (14 + ZOOM + 18, top + 18), each, size=16)
    _write_answer(pen, (14, ZOOM + 29), sentence, size=16)
    return card


def _write_answer(pen: ImageDraw.ImageDraw, place: tuple[float, float], each: Answered, *, size: int) -> None:
    """`✓ circle` in green, or `✗ square (circle)` in red; the right sentence would not fit behind a wrong one."""
    text = f"✓ {each.given}" if each.is_right else f"✗ {each.given or '—'}"
    if not each.is_right and each.question.kind != "sentence":
        text += f"  ({each.question.answer})"
    pen.text(place, text, font=_font(size, bold=True), fill=_RIGHT if each.is_right else _WRONG)


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along, so that no font need be installed."""
    wanted = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(wanted), size)
