from __future__ import annotations

import logging

import pytest

from tunesmith.train.display.counting import counting


@pytest.mark.parametrize(
    ("total", "steps", "said"),
    [
        (10, [4, 6], ["rows: 4 of 10", "rows: 10 of 10"]),
        (1000, [50] * 4, ["rows: 100 of 1,000", "rows: 200 of 1,000"]),
        (3, [1, 1, 1], ["rows: 1 of 3", "rows: 2 of 3", "rows: 3 of 3"]),
    ],
)
def test_elsewhere_than_on_a_terminal_every_tenth_is_a_line(total, steps, said, caplog):
    logging.getLogger("tunesmith").propagate = True
    with caplog.at_level(logging.INFO, logger="tunesmith"), counting(total, "rows") as count:
        for step in steps:
            count(step)
    assert caplog.messages == said
