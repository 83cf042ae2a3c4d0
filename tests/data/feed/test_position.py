"""A position survives a checkpoint's JSON exactly."""

from __future__ import annotations

import json

import pytest

from tunesmith.data.feed.position import FeedPosition, SourcePlace, StreamPlace
from tunesmith.data.store.address import Cursor

PLACE = StreamPlace(40, 1, (SourcePlace(Cursor(1, 2, 3, 4, 5), 6, 7, True), SourcePlace()))


@pytest.mark.parametrize("position", [FeedPosition(), FeedPosition(2, 2048, 17), FeedPosition(0, 42, 0, PLACE)])
def test_a_position_is_itself_after_json(position: FeedPosition) -> None:
    assert FeedPosition.from_json(json.loads(json.dumps(position.to_json()))) == position
