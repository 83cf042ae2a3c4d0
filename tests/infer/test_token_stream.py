from __future__ import annotations

import threading
import time

import pytest
import torch

from tunesmith.infer.token_stream import StopSwitch, TokenSink, stream_tokens


def count_up(sink: TokenSink, switch: StopSwitch) -> None:
    """Behaves as `generate`: the prompt first, then a token at a time until told to stop."""
    sink.put(torch.tensor([[7, 7, 7]]))
    for token in range(1000):
        sink.put(torch.tensor([token]))
        if switch(torch.zeros(1, 1)).all():
            return
        time.sleep(0.001)


def test_the_prompt_is_left_out_and_blocks_of_tokens_are_flattened() -> None:
    def generate(sink: TokenSink, switch: StopSwitch) -> None:
        sink.put(torch.tensor([[7, 7, 7]]))
        sink.put(torch.tensor([1]))
        sink.put(torch.tensor([2, 3]))
        sink.end()

    assert list(stream_tokens(generate)) == [1, 2, 3]


def test_closing_the_stream_stops_generation_and_its_thread() -> None:
    stream = stream_tokens(count_up)
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "tunesmith-generate"]


def test_an_error_in_the_thread_reaches_the_caller_after_the_tokens_before_it() -> None:
    def generate(sink: TokenSink, switch: StopSwitch) -> None:
        sink.put(torch.tensor([[7]]))
        sink.put(torch.tensor([5]))
        raise RuntimeError("out of luck")

    stream = stream_tokens(generate)
    assert next(stream) == 5
    with pytest.raises(RuntimeError, match="out of luck"):
        next(stream)


def test_tokens_arrive_before_the_end() -> None:
    stream = stream_tokens(count_up)
    started = time.perf_counter()
    next(stream)
    assert time.perf_counter() - started < 0.5  # the whole count takes over a second
    stream.close()
