"""Hidden states and output head of any causal or image-text-to-text model, proven against the model itself.

The hidden states are taken where the output embedding receives them, in the model's own forward: whatever a model does
between its last layer and its head (MiniCPM divides there) is then included, adapters and wrappers too. What a model
does to the raw logits afterwards (scaling, soft-capping) is read from its config and compared once with its own logits.
Knows nothing of losses, labels or training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from tunesmith.models.mode import evaluation_mode

_PROBE_POSITIONS = 4
_PROBE_LOGIT = 60.0
"""Largest logit of the probe: large enough that a missing soft-cap (30 in Gemma) cannot hide in rounding."""
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}


@dataclass(frozen=True, slots=True)
class LogitTransform:
    """logits = softcap · tanh(scale · raw / softcap), or scale · raw without a softcap (arXiv 2408.00118, §2)."""

    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, raw: Tensor) -> Tensor:
        """Raw logits of any shape to the model's logits, same shape."""
        logits = raw if self.scale == 1.0 else raw * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


@dataclass(frozen=True, slots=True)
class LanguageHead:
    """The output embedding, and how its raw logits become the model's."""

    module: nn.Module
    transform: LogitTransform

    @property
    def plain(self) -> nn.Linear | None:
        """The module if it is a bare linear layer whose weight may be used directly.

        None where an adapter, a trained copy or a quantised weight stands in the way: then call the module.
        """
        return self.module if type(self.module) is nn.Linear and self.module.weight.is_floating_point() else None

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, H) hidden states to (…, V) logits, through the module."""
        raw: Tensor = self.module(hidden)
        return self.transform(raw)

    def hidden_states(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Run `model` and return what its head receives, (B, T, H), with the graph; logits are made for one position.

        Raises RuntimeError if the head is not called exactly once.
        """
        return observe_hidden_states(model, self.module, inputs)


@dataclass(frozen=True, slots=True)
class HeadUnproven:
    """Why the model's own forward has to be used instead."""

    reason: str


def find_head(model: nn.Module, inputs: Mapping[str, Any]) -> LanguageHead | HeadUnproven:
    """The head of `model`, proven equal to the model's own logits on the first positions of `inputs`.

    inputs: keyword arguments of the model's forward, a batch as training has it. One forward without gradient.
    """
    inner, module = _transformers_model(model), find_output_embedding(model)
    if inner is None or module is None:
        return HeadUnproven("it names no output embedding")
    try:
        hidden, logits = _probe(model, module, inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        return HeadUnproven(f"its head could not be observed: {error}")
    for transform in _candidates(inner.config):
        head = LanguageHead(module=module, transform=transform)
        if _equal(head, hidden, logits):
            return head
    return HeadUnproven("its logits are not those of its output embedding with the scaling in its config")


def find_output_embedding(model: nn.Module) -> nn.Module | None:
    """The module that makes the logits, by transformers' word for it; PEFT's wrapper is looked through."""
    inner = _transformers_model(model)
    module = inner.get_output_embeddings() if inner is not None else None  # type: ignore[no-untyped-call]
    return module if isinstance(module, nn.Module) else None


def observe_hidden_states(model: nn.Module, module: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Run `model` and return what its head, `module`, receives: (B, T, H) with the graph.

    The head computes one position only. Raises RuntimeError if it is not called exactly once.
    """
    received = _Received(positions=1)
    with _hooked(module, received):
        model(**inputs)
    return received.hidden


def _transformers_model(model: nn.Module) -> PreTrainedModel | None:
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return inner if isinstance(inner, PreTrainedModel) else None


class _Received:
    """A forward pre-hook that keeps what the head receives and lets only the first positions through to it."""

    def __init__(self, *, positions: int) -> None:
        self._positions = positions
        self._calls: list[Tensor] = []

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self._calls.append(args[0])
        return (self.pass_on(module, args[0][:, : self._positions]), *args[1:])

    def pass_on(self, module: nn.Module, hidden: Tensor) -> Tensor:  # noqa: ARG002  for those that measure it
        """What `module`, the head, computes with: here the hidden states themselves."""
        return hidden

    @property
    def hidden(self) -> Tensor:
        if len(self._calls) != 1:
            raise RuntimeError(f"the output embedding was called {len(self._calls)} times in one forward")
        return self._calls[0]


class _Amplified(_Received):
    """Passes the hidden states on enlarged, so that the largest logit is about `_PROBE_LOGIT`."""

    def __init__(self, *, positions: int) -> None:
        super().__init__(positions=positions)
        self.passed: Tensor | None = None

    def pass_on(self, module: nn.Module, hidden: Tensor) -> Tensor:
        largest = module.forward(hidden).abs().max()  # not a call: this hook must not see it
        self.passed = hidden * (_PROBE_LOGIT / largest.float().clamp(min=1e-6)).to(hidden.dtype)
        return self.passed


def _probe(model: nn.Module, module: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """What the head received, (B, P, H), and the logits the model made of it, (B, P, V)."""
    received = _Amplified(positions=_PROBE_POSITIONS)
    with evaluation_mode(model), torch.no_grad(), _hooked(module, received):
        logits: Tensor = model(**inputs).logits
    if received.passed is None:
        raise RuntimeError("the output embedding was not called")
    if received.hidden.shape[:2] != inputs["input_ids"].shape:
        raise RuntimeError(f"its head received {tuple(received.hidden.shape)}, not one state for every token")
    return received.passed, logits


@contextmanager
def _hooked(module: nn.Module, received: _Received) -> Iterator[None]:
    handle = module.register_forward_pre_hook(received)
    try:
        yield
    finally:
        handle.remove()


def _candidates(config: PretrainedConfig) -> Iterator[LogitTransform]:
    """What the config declares, most specific first; the plain head last."""
    for section in (config, config.get_text_config()):
        declared = section.to_dict()
        if softcap := declared.get("final_logit_softcapping"):
            yield LogitTransform(softcap=float(softcap))
        if scale := declared.get("logit_scale") or declared.get("lm_head_multiplier"):
            yield LogitTransform(scale=float(scale))
        if scaling := declared.get("logits_scaling"):  # Granite divides by it, HyperCLOVA X multiplies
            yield LogitTransform(scale=1.0 / float(scaling))
            yield LogitTransform(scale=float(scaling))
    yield LogitTransform()


def _equal(head: LanguageHead, hidden: Tensor, logits: Tensor) -> bool:
    with torch.no_grad():
        ours = head.logits(hidden)
    if ours.shape != logits.shape:
        return False
    difference = (ours.double() - logits.double()).abs().max()
    return bool(difference <= _TOLERANCE[ours.dtype] * logits.double().abs().max())
