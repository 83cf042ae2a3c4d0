"""Rows to preview that several tests show in different forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.data.conversations import assistant, build_encoder, conversation, pair, picture, user
from tunesmith.chat.message import Conversation
from tunesmith.config.stages import RowKind
from tunesmith.data.report.preview import PreviewedRow
from tunesmith.models.preprocessing.processor import Preprocessor

ROW = conversation(
    user(picture(56, 140), "What <b>is</b> 它 🎵?"), assistant("red 🚀"), user("more?"), assistant("no"), row=3
)

PAIR = pair(user(picture(56, 56), "What is it?"), chosen="It is red 🚀", rejected="It is <b>blue</b>", row=4)
JUDGED = replace(pair(user("ok?"), chosen="yes", rejected="something else", row=5), verdict=False)


def previewed(
    preprocessor: Preprocessor, row: Conversation, rows: RowKind = "conversations", **settings: Any
) -> PreviewedRow:
    return PreviewedRow(build_encoder(preprocessor, rows, **settings).trace(row), preprocessor.tokenizer)
