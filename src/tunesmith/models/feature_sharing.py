"""Pictures and sounds seen once for two models: the one that trains, and the one it is compared with.

What a frozen tower or projector made of a batch's media in the first model's run is kept and given, call by call, to
the next run of either model with the same media, which then computes the language model only. Exact: whatever differs
between the calls (media, shapes, numbers, a graph that is needed) is computed. Knows nothing of losses or references.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from tunesmith.models.parts import core_model, find_parts
from tunesmith.models.shared_parts import fixed_parts, same_weights

_ALONG_TOKENS = frozenset(
    {"input_ids", "attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids", "labels"}
)
"""Inputs that no tower sees; every other tensor a model is given belongs to its media."""
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.Size)


@dataclass(frozen=True, slots=True)
class FeatureSharing:
    """models: those whose runs are told apart, as they are called; parts: for each shared part its module in each."""

    models: tuple[nn.Module, ...]
    parts: tuple[tuple[nn.Module, ...], ...]

    @classmethod
    def find(cls, policy: nn.Module, reference: nn.Module | None) -> Self:
        """What `policy` shares with `reference`, or with itself where that is None (its adapter off, or another on).

        Parts of another model are shared only where they hold the very same parameters.
        """
        if not find_parts(policy).is_multimodal:
            return cls((), ())
        names = fixed_parts(policy)
        modules = [core_model(policy).get_submodule(name) for name in names]
        if reference is None or reference is policy:
            return cls((policy,), tuple((module,) for module in modules))
        others = dict(core_model(reference).named_modules())
        pairs = [(module, others[name]) for module, name in zip(modules, names, strict=True) if name in others]
        return cls((policy, reference), tuple(pair for pair in pairs if same_weights(*pair)))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Inside, for one batch: the shared parts of a run are computed once and given to one other run."""
        if not self.parts:
            yield
            return
        runs = _Runs()
        with ExitStack() as undo:
            for model in self.models:
                undo.callback(model.register_forward_pre_hook(runs.begin, with_kwargs=True).remove)
            for number, modules in enumerate(self.parts):
                for module in dict.fromkeys(modules):
                    undo.callback(_replace_forward(module, partial(runs.call, number)))
            yield


def _replace_forward(module: nn.Module, call: Callable[..., Any]) -> Callable[[], None]:
    """Let `call(forward, args, options)` answer for the module; what is returned undoes it."""
    own = vars(module).get("forward")  # accelerate puts one there
    forward = module.forward

    def stand_in(*args: Any, **options: Any) -> Any:
        return call(forward, args, options)

    def undo() -> None:
        del module.forward
        if own is not None:
            module.forward = own

    module.forward = stand_in
    return undo


@dataclass(frozen=True, slots=True)
class _Call:
    """What a part was given, but for the numbers in it, and made; versions: of the output's tensors at that time."""

    given: object
    output: Any
    versions: tuple[int, ...]

    def may_answer(self, given: object) -> bool:
        """Whether a call with the same media gets this output: nobody has changed it, and it was asked for alike."""
        return given == self.given and self.versions == tuple(tensor._version for tensor in _tensors(self.output))


@dataclass(slots=True)
class _Run:
    """One forward of a model: its media, and its calls of shared parts by part and number."""

    media: Mapping[str | int, Tensor]
    calls: dict[tuple[int, int], _Call] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)

    def next_number(self, part: int) -> int:
        self.counts[part] += 1
        return self.counts[part]


@dataclass(slots=True)
class _Runs:
    """The runs of one batch so far. A kept output is given once, and so is free when the second run has used it."""

    _all: list[_Run] = field(default_factory=list)
    _earlier: _Run | None = None

    def begin(self, _: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """A model's run begins."""
        named: dict[str | int, Any] = dict(enumerate(args)) | dict(options.items())
        media = {name: value for name, value in named.items() if isinstance(value, Tensor)}
        for name in _ALONG_TOKENS:
            media.pop(name, None)
        self._all = [run for run in self._all if run.calls]
        self._earlier = next((run for run in self._all if _same_media(run.media, media)), None)
        self._all.append(_Run(media))

    def call(self, part: int, forward: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The output of one call of a shared part: kept, or computed and kept."""
        if not self._all:
            return forward(*args, **options)
        now = self._all[-1]
        key = (part, now.next_number(part))
        given = (_without_numbers((args, options)), _autocast())
        kept = self._earlier.calls.pop(key, None) if self._earlier is not None else None
        if kept is not None and kept.may_answer(given) and not _needs_graph((args, options)):
            return kept.output
        output = forward(*args, **options)
        if _can_be_kept(output):
            versions = tuple(tensor._version for tensor in _tensors(output))
            now.calls[key] = _Call(given, _copied(output), versions)
        return output


def _same_media(one: Mapping[str | int, Tensor], other: Mapping[str | int, Tensor]) -> bool:
    return bool(one) and one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())


def _equal(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)


def _without_numbers(value: Any) -> object:
    """Shapes and formats in place of tensors, so that two calls can be compared without reading a device."""
    if isinstance(value, Tensor):
        return ("tensor", value.shape, value.dtype, value.device)
    if isinstance(value, Mapping):
        return tuple((name, _without_numbers(item)) for name, item in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(_without_numbers(item) for item in value)
    return value if isinstance(value, _PLAIN) else id(value)


def _autocast() -> object:
    devices = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    return tuple((device, torch.get_autocast_dtype(device)) for device in devices)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an output, tuples, lists and transformers' outputs looked through."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def _needs_graph(value: Any) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in _tensors(value))


def _can_be_kept(output: Any) -> bool:
    """Tensors without a graph, and nothing else."""
    if isinstance(output, Tensor):
        return not output.requires_grad and not output.is_inference()
    if isinstance(output, ModelOutput):
        return all(map(_can_be_kept, output.values()))
    return all(map(_can_be_kept, output)) if type(output) in (tuple, list) else isinstance(output, _PLAIN)


def _copied(output: Any) -> Any:
    """The same tensors in a container of its own: models write into what their towers return."""
    return copy(output) if isinstance(output, (ModelOutput, list)) else output
