"""full_determinism: what it sets, what it says, and that runs repeat."""

from __future__ import annotations

import json
import os

import pytest
import torch

from tests.train.runs import assert_same_run, run, run_settings, write_rows
from tunesmith.errors import RunError
from tunesmith.train.determinism import describe_determinism, repeatable

CPU = torch.device("cpu")


def add_in_any_order():
    """A sum that two threads add to atomically, where determinism is not asked for."""
    torch.manual_seed(0)
    ids, values = torch.randint(0, 8, (20_000,)), torch.randn(20_000, 64)
    return torch.zeros(8, 64).index_put_((ids,), values, accumulate=True)


def test_inside_results_repeat_and_afterwards_everything_is_as_before():
    with repeatable(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        first = add_in_any_order()
        assert all(torch.equal(add_in_any_order(), first) for _ in range(5))
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["FLASH_ATTENTION_DETERMINISTIC"] == "1"


def test_nothing_changes_where_it_is_not_wanted():
    with repeatable(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_that_cannot_repeat_is_named_with_the_key():
    message = r"no deterministic form of put_ on this device\. Set full_determinism: false"
    with pytest.raises(RunError, match=message), repeatable(True):
        torch.zeros(4).put_(torch.tensor([1]), torch.tensor([1.0]))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), repeatable(True):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_the_manifest_says_what_is_equal_bit_for_bit():
    threads = torch.get_num_threads()
    facts = describe_determinism(CPU, num_processes=1)
    assert facts["full_determinism"] is False
    assert facts["bit_equal_with_the_same"] == ["versions", "kind of device", "threads"]
    assert bool(facts["not_bit_equal"]) == (threads > 1)
    on_gpu = describe_determinism(torch.device("cuda"), num_processes=8)
    assert on_gpu["bit_equal_with_the_same"] == ["versions", "kind of device", "number of processes"]
    assert any("flash and memory-efficient attention" in loose for loose in on_gpu["not_bit_equal"])
    with repeatable(True):
        assert describe_determinism(CPU, num_processes=1)["not_bit_equal"] == []


def test_two_runs_are_equal_bit_for_bit(qwen2_folder, tmp_path):
    settings = run_settings(qwen2_folder, write_rows(tmp_path), tmp_path / "one", max_steps=3, full_determinism=True)
    run(settings)
    run(settings, output_dir=str(tmp_path / "other"))
    assert_same_run(tmp_path / "one", tmp_path / "other")
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["determinism"]["full_determinism"] is True
    assert not torch.are_deterministic_algorithms_enabled()
