"""Optimisers and schedules by name."""

from __future__ import annotations

import math

import pytest
import torch

from tunesmith import extras
from tunesmith.config.training import TrainingSettings
from tunesmith.errors import NotSupportedYetError, UsageError
from tunesmith.train.steps.optimizer import build_optimizer
from tunesmith.train.steps.schedule import build_scheduler, num_warmup_steps

NAMES = ["adamw_torch", "adamw_hf", "adamw_torch_fused", "adafactor", "sgd"]
QUANTISED = ["adamw_8bit", "adamw_bnb_8bit", "paged_adamw", "paged_adamw_8bit", "paged_adamw_32bit"]
needs_bitsandbytes = pytest.mark.skipif(not extras.is_installed("bitsandbytes"), reason="bitsandbytes is not installed")


def optimizer(name, weight, **settings):
    groups = [{"params": [weight], "lr": 0.1, "weight_decay": 0.0}]
    return build_optimizer(groups, TrainingSettings(optim=name, **settings))


@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(name, marks=needs_bitsandbytes) for name in QUANTISED[:2])])
def test_every_optimiser_walks_downhill(name):
    weight = torch.nn.Parameter(torch.full((64, 128), 2.0))
    built = optimizer(name, weight)
    for _ in range(15):
        built.zero_grad()
        (weight**2).sum().backward()
        built.step()
    assert 0 < weight.abs().max() < 1.5


@needs_bitsandbytes
@pytest.mark.parametrize("name", QUANTISED)
def test_bitsandbytes_optimisers_are_what_their_names_say(name):
    built = optimizer(name, torch.nn.Parameter(torch.zeros(4, 4)), adam_beta2=0.95)
    assert built.is_paged == name.startswith("paged")
    assert built.args.optim_bits == (8 if "8bit" in name else 32)
    assert built.defaults["betas"][1] == 0.95


def test_betas_and_epsilon_reach_adamw():
    built = optimizer("adamw_torch", torch.nn.Parameter(torch.zeros(1)), adam_beta1=0.8, adam_epsilon=1e-6)
    assert (built.defaults["betas"], built.defaults["eps"]) == ((0.8, 0.999), 1e-6)


def test_optim_args_are_passed_on():
    weight = torch.nn.Parameter(torch.zeros(1))
    assert optimizer("sgd", weight, optim_args="momentum=0.9,nesterov=true").defaults["momentum"] == 0.9
    with pytest.raises(UsageError, match=r"optim_args: .speed=9. does not fit optim: sgd"):
        optimizer("sgd", weight, optim_args="speed=9")
    with pytest.raises(UsageError, match="name=value"):
        optimizer("sgd", weight, optim_args="fast")


def test_an_unknown_optimiser_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"optim: lion is not an optimiser here; choose one of adamw_torch"):
        optimizer("lion", torch.nn.Parameter(torch.zeros(1)))


def rates(steps=10, **settings):
    built = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_scheduler(built, TrainingSettings(**settings), total_steps=steps)
    seen = []
    for _ in range(steps):
        seen.append(built.param_groups[0]["lr"])
        built.step()
        scheduler.step()
    return seen


def test_schedules_have_transformers_shapes():
    assert rates(lr_scheduler_type="constant") == [1.0] * 10
    assert rates(lr_scheduler_type="linear", warmup_steps=2) == pytest.approx(
        [0, 0.5, *(1 - step / 8 for step in range(8))]
    )
    cosine = rates(lr_scheduler_type="cosine")
    assert cosine == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])
    least = rates(lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr": 0.5}, steps=100)
    assert min(least) >= 0.5


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({"warmup_steps": 7}, 7), ({"warmup_steps": 0.1}, 5), ({"warmup_ratio": 0.03}, 2), ({}, 0)],
)
def test_warm_up_is_steps_or_a_share(settings, steps):
    assert num_warmup_steps(TrainingSettings(**settings), total_steps=50) == steps


def test_schedules_that_cannot_be_built_are_refused():
    with pytest.raises(UsageError, match="lr_scheduler_type: cosin is not a schedule"):
        rates(lr_scheduler_type="cosin")
    with pytest.raises(NotSupportedYetError, match="reduce_lr_on_plateau is not supported yet"):
        rates(lr_scheduler_type="reduce_lr_on_plateau")
    with pytest.raises(UsageError, match=r"does not go with lr_scheduler_kwargs: {'peak': 3}"):
        rates(lr_scheduler_type="cosine", lr_scheduler_kwargs={"peak": 3})
