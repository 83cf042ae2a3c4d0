"""What each of several processes runs for `test_fsdp2`: the same steps with cut weights and with whole ones.

`python -m tests.train.parallel.fsdp2_process FOLDER` with torchrun's variables; writes FOLDER/RANK.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from tests.tiny import tiny_folder
from tests.train.batches import FLOAT64, make_batch, make_rows, tuned_model
from tests.train.tiny_models import row
from tunesmith import extras
from tunesmith.config.settings import Settings
from tunesmith.data.batches.batch import Batch
from tunesmith.errors import TunesmithError
from tunesmith.models.parts import Part, core_model, find_parts
from tunesmith.models.precision import choose_precision
from tunesmith.train.objectives.root import Root
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.parallel.fsdp2 import FullyShardedParallel
from tunesmith.train.parallel.fsdp2_gradients import own_part
from tunesmith.train.parallel.group import Group, open_group
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.setup import load_trained_model
from tunesmith.train.steps.evaluation import evaluate
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.step import Stepper

Steps = Sequence[Sequence[Batch]]


def make_settings(**changes: Any) -> Settings:
    """Settings with fields of several sections by their flat names."""
    settings = Settings()
    sections = {name: getattr(settings, name) for name in type(settings).model_fields}
    for key, value in {"use_cpu": True, **changes}.items():
        (name,) = (name for name, section in sections.items() if key in type(section).model_fields)
        sections[name] = sections[name].model_copy(update={key: value})
    return settings.model_copy(update=sections)


def build_stepper(build: Callable[[], nn.Module], parallel: Parallel, settings: Settings, *, double: bool) -> Stepper:
    """AdamW around what `build` makes, in its engine."""
    model = parallel.load(build)
    root = Root(model, SupervisedObjective(chunk_tokens=7))
    parallel.cut(root)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    called = parallel.attach(root, optimizer, max_grad_norm=1.0)
    precision = FLOAT64 if double else choose_precision(settings)
    return Stepper(
        forward=Forward(model, root.objective, precision, torch.device("cpu"), called),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        parallel=parallel,
        max_grad_norm=1.0,
    )


def compare(
    build: Callable[[], nn.Module], group: Group, steps: Steps, *, double: bool = True, **changes: Any
) -> dict[str, float]:
    """The largest differences between one process and all, over some steps: of losses, norms and final weights."""
    settings = make_settings(**changes)
    one = build_stepper(build, SingleProcess(), settings, double=double)
    cut = build_stepper(build, FullyShardedParallel(group, settings), settings, double=double)
    expected = [one.take(batches) for batches in steps]
    found = [cut.take(batches[group.rank :: group.num_processes]) for batches in steps]
    losses, held_out = _evaluations(one, cut, group, steps[0])
    return {
        "loss": max(abs(a.loss_sum - b.loss_sum) for a, b in zip(expected, found, strict=True)),
        "norm": max(abs(a.grad_norm - b.grad_norm) for a, b in zip(expected, found, strict=True)),
        "smallest_norm": min(outcome.grad_norm for outcome in expected),
        "weights": weight_difference(one.forward.model, cut.forward.model),
        "evaluation": abs(losses - held_out),
        "part": _own_share(cut.forward.model),
    }


def _evaluations(one: Stepper, cut: Stepper, group: Group, batches: Sequence[Batch]) -> tuple[float, float]:
    own = batches[group.rank :: group.num_processes]
    return evaluate(one.forward, batches).loss, evaluate(cut.forward, own, cut.parallel).loss


def weight_difference(one: nn.Module, cut: nn.Module) -> float:
    """Of all parameters and buffers, the cut ones put together."""
    whole = dict(one.named_parameters()) | dict(one.named_buffers())
    found = dict(cut.named_parameters()) | dict(cut.named_buffers())
    assert found.keys() == whole.keys()
    return max(
        float((_whole(found[name]).double() - _plain(tensor).double()).abs().max()) for name, tensor in whole.items()
    )


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return torch.Tensor(tensor.data) if type(tensor).__name__ == "Params4bit" else tensor.detach()


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    detached = tensor.detach()
    return detached.full_tensor() if isinstance(detached, DTensor) else detached


def _own_share(model: nn.Module) -> float:
    """This process's part of all numbers."""
    parameters = list(model.parameters())
    return sum(own_part(parameter).numel() for parameter in parameters) / sum(one.numel() for one in parameters)


def text_steps() -> Steps:
    """Three steps of four micro-batches of different lengths."""
    rows = make_rows("qwen2", 21)
    return [
        [make_batch(rows[7 * step + a : 7 * step + b]) for a, b in ((0, 2), (2, 3), (3, 5), (5, 7))]
        for step in range(3)
    ]


def mixed_steps() -> Steps:
    """Of two processes the first, none, the second, and both have pictures."""
    pictures = [make_batch([row]) for row in make_rows("qwen2_5_vl", 4)]
    texts = [make_batch([row(5 + index, seed=300 + index, supervised_from=1)]) for index in range(5)]
    return [
        [pictures[0], texts[0], texts[1], pictures[1]],
        [texts[2], texts[3]],
        [texts[4], pictures[2]],
        [pictures[3], pictures[0]],
    ]


def only(part: Part) -> Callable[[], nn.Module]:
    """A tiny model that sees, of which one part trains."""

    def build() -> nn.Module:
        model = tuned_model("qwen2_5_vl", "full").requires_grad_(False)
        parts = find_parts(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parts.part_of(name) is part)
        return model

    return build


def checkpointed(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The same model, its activations made again in the backward pass."""

    def build_checkpointed() -> nn.Module:
        model: Any = build()
        core_model(model).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return model

    return build_checkpointed


def compare_all(group: Group) -> dict[str, Any]:
    """Every comparison of a training, by name."""
    text, seeing = (lambda tuning: lambda: tuned_model("qwen2", tuning)), lambda: tuned_model("qwen2_5_vl", "full")
    single = lambda: tuned_model("qwen2", "full").float()  # noqa: E731
    steps, mixed = text_steps(), mixed_steps()
    return {
        "full": compare(text("full"), group, steps),
        "lora": compare(text("lora"), group, steps, finetuning_type="lora"),
        "checkpointed": compare(checkpointed(text("full")), group, steps),
        "gathered once": compare(text("full"), group, steps, reshard_after_forward=False),
        "offloaded": compare(text("full"), group, steps, cpu_offload=True),
        "float32": compare(single, group, steps, double=False),
        "bf16": compare(single, group, steps, double=False, bf16=True, finetuning_type="full"),
        "pictures": compare(checkpointed(seeing), group, mixed),
        "tower": compare(only(Part.VISION_TOWER), group, mixed),
        "projector": compare(only(Part.PROJECTOR), group, mixed),
    }


def loading(group: Group, folder: Path) -> dict[str, Any]:
    """A model read from files with a new adapter on it: where its weights are before it is cut, and what they are."""
    if group.rank == 0:
        tiny_folder("qwen2_5_vl", folder)
    group.barrier()
    settings = make_settings(model_name_or_path=str(folder), finetuning_type="lora")
    parallel = FullyShardedParallel(group, settings)
    model = parallel.load(lambda: load_trained_model(settings))
    devices = sorted({parameter.device.type for parameter in model.parameters()})
    root = Root(model, SupervisedObjective(chunk_tokens=7))
    parallel.cut(root)
    whole = load_trained_model(settings)
    found = {"devices": devices, "difference": weight_difference(whole, model), "part": _own_share(model)}
    return found | _answers(parallel, root, whole)


def _answers(parallel: FullyShardedParallel, root: Root, whole: nn.Module) -> dict[str, Any]:
    """What the model says outside of a step, and where its weights are then."""
    ids = torch.arange(10, 22)[None]
    called = parallel.attach(root, torch.optim.SGD(root.parameters()), max_grad_norm=0.0)
    options = {"max_new_tokens": 5, "do_sample": False}
    model: Any = core_model(root.model.eval())
    with parallel.whole(called), torch.no_grad():
        logits, answer = root.model(input_ids=ids).logits, model.generate(input_ids=ids, **options)
    with torch.no_grad():
        expected = whole.eval()(input_ids=ids).logits
    told: Any = core_model(whole)
    cut = all(isinstance(parameter, DTensor) for parameter in root.parameters())
    return {
        "logits": float((logits - expected).abs().max()),
        "same_answer": torch.equal(answer, told.generate(input_ids=ids, **options)),
        "cut_again": cut,
    }


def quantized(group: Group, folder: Path) -> dict[str, Any] | None:
    """Steps with a base packed in 4 bits; None where bitsandbytes is not there."""
    if not extras.is_installed("bitsandbytes"):
        return None
    changes = {"model_name_or_path": str(folder), "finetuning_type": "lora", "quantization_bit": 4}
    settings = make_settings(**changes)
    return compare(lambda: load_trained_model(settings), group, text_steps(), double=False, **changes)


def failed_loading(group: Group) -> str:
    """What every process hears where the first one cannot read the model."""
    settings = make_settings(model_name_or_path="/nowhere/at/all", finetuning_type="lora")
    try:
        FullyShardedParallel(group, settings).load(lambda: load_trained_model(settings))
    except TunesmithError as error:
        return str(error)
    return "nothing failed"


def main(folder: Path) -> None:
    """Run everything and write down what came out."""
    group = open_group(make_settings())
    results: dict[str, Any] = {"loading": loading(group, folder / "model"), "failed": failed_loading(group)}
    results |= {"quantized": quantized(group, folder / "model"), **compare_all(group)}
    (folder / f"{group.rank}.json").write_text(json.dumps(results), encoding="utf-8")
    group.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
