"""What each of several processes runs for `test_deepspeed`: the same steps by ZeRO and, beside it, by one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from tests.train.batches import tuned_model
from tests.train.parallel.fsdp2_process import build_stepper, checkpointed, make_settings, text_steps
from tests.train.runs import run
from tests.train.together import meet_at
from tunesmith.data.batches.batch import Batch
from tunesmith.errors import TunesmithError
from tunesmith.train.parallel.deepspeed import DeepSpeedParallel
from tunesmith.train.parallel.deepspeed_weights import whole_of
from tunesmith.train.parallel.group import open_group
from tunesmith.train.parallel.single import SingleProcess

Steps = Sequence[Sequence[Batch]]


def text(kind: str, tuning: str) -> Callable[[], nn.Module]:
    """A tiny model in float32."""
    return lambda: tuned_model(kind, tuning).float()


CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "zero1": (text("qwen2", "full"), {"deepspeed": "zero1"}),
    "zero2": (text("qwen2", "full"), {"deepspeed": "zero2"}),
    "zero3": (text("qwen2", "full"), {"deepspeed": "zero3"}),
    "zero2, offloaded": (text("qwen2", "full"), {"deepspeed": "zero2_offload"}),
    "zero3, offloaded": (text("qwen2", "full"), {"deepspeed": "zero3_offload"}),
    "zero3, LoRA": (text("qwen2", "lora"), {"deepspeed": "zero3", "finetuning_type": "lora"}),
    "zero3, tied and checkpointed": (checkpointed(text("qwen2_tied", "full")), {"deepspeed": "zero3"}),
    "zero2, bf16": (text("qwen2", "full"), {"deepspeed": "zero2", "bf16": True}),
    "zero3, bf16": (text("qwen2", "full"), {"deepspeed": "zero3", "bf16": True}),
}


def everything(runs: Sequence[dict[str, Any]], ports: Sequence[int]) -> dict[str, Any]:
    """All of it, in processes that have started once."""
    names, rest = list(CASES), iter(ports)
    return {
        "cases": compare_cases(names, [next(rest) for _ in names]),
        "given up": forget_a_step(next(rest)),
        "runs": train_runs(runs, list(rest)),
    }


def compare_cases(names: Sequence[str], ports: Sequence[int]) -> dict[str, dict[str, float]]:
    """By case the largest differences between one process and all: of losses, norms and final weights."""
    found = {}
    for name, port in zip(names, ports, strict=True):
        meet_at(port)
        build, changes = CASES[name]
        found[name] = _compare(build, text_steps(), **{"finetuning_type": "full", **changes})
    return found


def _compare(build: Callable[[], nn.Module], steps: Steps, **changes: Any) -> dict[str, float]:
    settings = make_settings(**changes)
    group = open_group(settings)
    one = build_stepper(build, SingleProcess(), settings, double=False)
    parallel = DeepSpeedParallel(group, settings)
    cut = build_stepper(build, parallel, settings, double=False)
    # engines in lockstep are given as many micro-batches in every process
    steps = [batches[: len(batches) // group.num_processes * group.num_processes] for batches in steps]
    expected = [one.take(batches) for batches in steps]
    found = [cut.take(batches[group.rank :: group.num_processes]) for batches in steps]
    difference = max(
        float((whole_of(weight) - one.forward.model.get_parameter(name).detach()).abs().max())
        for name, weight in cut.forward.model.named_parameters()
        if weight.requires_grad
    )
    parallel.close()
    pairs = list(zip(expected, found, strict=True))
    return {
        "loss": max(abs(a.loss_sum - b.loss_sum) / a.num_terms for a, b in pairs),
        "norm": max(abs(a.grad_norm - b.grad_norm) / a.grad_norm for a, b in pairs),
        "weights": difference,
    }


def forget_a_step(port: int) -> bool:
    """Whether a step that was given up leaves nothing behind: the next ones are as if it had never been begun."""
    meet_at(port)
    settings = make_settings(deepspeed="zero3", finetuning_type="full")
    group = open_group(settings)
    parallel = DeepSpeedParallel(group, settings)
    stepper = build_stepper(text("qwen2", "full"), parallel, settings, double=False)
    first, second, third = (batches[group.rank :: group.num_processes] for batches in text_steps())
    parallel.clear_gradients(stepper.optimizer)
    for batch in third:
        parallel.backward(stepper.forward.loss(batch).loss_sum, last=batch is third[-1])
    parallel.clear_gradients(stepper.optimizer)
    norms = [stepper.take(batches).grad_norm for batches in (first, second)]
    parallel.close()
    one = build_stepper(text("qwen2", "full"), SingleProcess(), settings, double=False)
    expected = [one.take(batches).grad_norm for batches in text_steps()[:2]]
    return all(abs(a - b) < 1e-4 for a, b in zip(norms, expected, strict=True))


def train_runs(runs: Sequence[dict[str, Any]], ports: Sequence[int]) -> list[str]:
    """Train one run after the other; what each ended with: its folder, or the error that it raised."""
    ended = []
    for settings, port in zip(runs, ports, strict=True):
        meet_at(port)
        try:
            ended.append(str(run(settings).run_folder))
        except TunesmithError as error:
            ended.append(f"{type(error).__name__}: {error}")
    return ended
