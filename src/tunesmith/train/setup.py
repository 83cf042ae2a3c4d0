"""From settings to the parts of a training step: model on its device, optimiser, schedule, objective."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from torch.optim import Optimizer
from transformers import PreTrainedModel

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.models.device import pick_device
from tunesmith.models.load import load_model
from tunesmith.models.precision import choose_precision
from tunesmith.models.tuning.apply import apply_tuning, parameter_groups
from tunesmith.train.memory_advice import advice_for_optimizer
from tunesmith.train.objectives.objective import Objective
from tunesmith.train.objectives.root import Root
from tunesmith.train.objectives.table import build_objective
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.optimizer import build_optimizer
from tunesmith.train.steps.randomness import seed_everything
from tunesmith.train.steps.schedule import Pace, build_scheduler
from tunesmith.train.steps.step import Stepper

Model = PreTrainedModel | PeftModel


def load_trained_model(settings: Settings) -> Model:
    """The model with what trains marked, checkpointing as asked for. New adapters depend on the seed alone."""
    device = pick_device(use_cpu=settings.training.use_cpu)
    if settings.training.tf32 is not None and device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = settings.training.tf32
        torch.backends.cudnn.allow_tf32 = settings.training.tf32
    seed_everything(settings.training.seed)
    model = apply_tuning(load_model(settings, trains=True), settings)
    if wants_checkpointing(settings, device):
        _checkpoint_activations(model)
    return model.train()


def wants_checkpointing(settings: Settings, device: torch.device) -> bool:
    """disable_gradient_checkpointing decides; else on for GPUs and off on the CPU."""
    if settings.model.disable_gradient_checkpointing is not None:
        return not settings.model.disable_gradient_checkpointing
    return device.type == "cuda"


@dataclass(frozen=True, slots=True)
class Assembled:
    """The model in its engine: cut, with its optimiser, and hooked.

    root: what the objective is set on; `forward.root` is the engine's module around it
    """

    model: Model
    root: Root
    forward: Forward
    optimizer: Optimizer

    def with_objective(self, objective: Objective) -> Forward:
        """The forward of another objective."""
        self.root.objective = objective
        return replace(self.forward, objective=objective)


def assemble(settings: Settings, parallel: Parallel) -> Assembled:
    """Load the model into its engine. For all processes together."""
    model = parallel.load(lambda: load_trained_model(settings))
    objective = build_objective(settings)
    root = Root(model, objective)
    parallel.cut(root)
    optimizer = build_optimizer(parameter_groups(model, settings), settings.training)
    called = parallel.attach(root, optimizer, max_grad_norm=settings.training.max_grad_norm)
    device = pick_device(use_cpu=settings.training.use_cpu)  # weights may be elsewhere (cpu_offload)
    forward = Forward(model, objective, choose_precision(settings), device, called)
    return Assembled(model, root, forward, optimizer)


def build_stepper(
    settings: Settings,
    *,
    forward: Forward,
    optimizer: Optimizer,
    parallel: Parallel,
    total_steps: int,
    pace: Pace | None,
) -> Stepper:
    """Everything a step needs. `pace`: what the schedule goes by where `total_steps` is an estimate."""
    return Stepper(
        forward=forward,
        optimizer=optimizer,
        scheduler=build_scheduler(optimizer, settings.training, total_steps=total_steps, pace=pace),
        parallel=parallel,
        max_grad_norm=settings.training.max_grad_norm,
        optimizer_advice=advice_for_optimizer(settings),
    )


def _checkpoint_activations(model: Model) -> None:
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    with warnings.catch_warnings():
        # renamed in transformers 5.20-odd; the old name works in every version supported here
        warnings.simplefilter("ignore", FutureWarning)
        try:
            inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        except ValueError as error:
            log.warning(f"gradient checkpointing is not available for this model: {error}")
