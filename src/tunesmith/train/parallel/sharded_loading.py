"""A model that only the first process reads: the others build its shape, and are sent the weights piece by piece.

What is sent is on the device of every process right away, so a caller that cuts each piece at once (FSDP2, ZeRO-3)
never holds more than one piece whole beside its own part. Only the first process holds the model, in the host's memory,
less and less of it. Knows no engines.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tunesmith.errors import RunError, TunesmithError
from tunesmith.models.device import loading_on
from tunesmith.train.parallel.group import Group
from tunesmith.train.parallel.parallel import Loaded, Parallel
from tunesmith.train.parallel.together import raise_first


def load_on_first(build: Callable[[], Loaded], parallel: Parallel) -> Loaded:
    """What `build` makes: on the CPU in the first process, without weights (on meta) in all others. For all together.

    `build` must load through `models.load`. Raises whatever it raises in any process, in all of them, and RunError
    where the processes build different models.
    """
    model: Loaded | None = None
    problem: TunesmithError | None = None
    try:
        with loading_on(torch.device("cpu" if parallel.rank == 0 else "meta")):
            model = build()
    except TunesmithError as error:
        problem = error
    raise_first(parallel, problem)
    assert model is not None
    _require_alike(model, parallel)
    return model


def _require_alike(model: nn.Module, parallel: Parallel) -> None:
    shapes = {name: (tuple(held.shape), str(held.dtype), held.requires_grad) for name, held in _named(model)}
    digest = hashlib.blake2b(repr(shapes).encode(), digest_size=16).hexdigest()
    if len(set(parallel.gather(digest))) == 1:
        return
    others = parallel.gather(shapes)
    differing = sorted({name for theirs in others for name, _ in theirs.items() ^ others[0].items()})
    raise RunError(
        f"the processes build different models: {', '.join(differing[:5])} differ. Give every host the same settings, "
        "config.json and adapter files, and the same versions of transformers and peft"
    )


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@dataclass(slots=True)
class Delivery:
    """Brings the weights of a model that `load_on_first` loaded from the first process to the device of each.

    A weight that several modules hold is sent once and stays shared between them.
    """

    model: nn.Module
    group: Group
    _shared: frozenset[int] = field(init=False)
    _sent: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)
    _done: set[nn.Module] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        held = Counter(id(tensor) for module in self.model.modules() for _, tensor in _held(module))
        self._shared = frozenset(key for key, count in held.items() if count > 1)

    def bring(self, module: nn.Module) -> None:
        """Every parameter and buffer in `module` that was not brought before, put in the place of the one that was
        there. For all together."""
        for inner in module.modules():
            if inner in self._done:
                continue
            self._done.add(inner)
            for name, tensor in list(_held(inner)):
                if isinstance(tensor, nn.Parameter):
                    inner._parameters[name] = self._bring_parameter(tensor)
                elif name in inner._buffers:
                    inner._buffers[name] = self._once(tensor)
                else:
                    vars(inner)[name] = self._once(tensor)

    def _bring_parameter(self, parameter: nn.Parameter) -> nn.Parameter:
        brought = self._once(parameter)
        if isinstance(brought, nn.Parameter):
            return brought
        made = nn.Parameter(brought, requires_grad=parameter.requires_grad)
        if id(parameter) in self._shared:
            self._remember(parameter, made)
        return made

    def _once(self, tensor: Tensor) -> Tensor:
        if id(tensor) in self._sent:
            return self._sent[id(tensor)][1]
        brought = from_first(tensor, self.group)
        if id(tensor) in self._shared and not isinstance(tensor, nn.Parameter):
            self._remember(tensor, brought)
        return brought

    def _remember(self, tensor: Tensor, brought: Tensor) -> None:
        """Both ways, since what was brought may be met again; the tensor is kept so that its id stays its own."""
        self._sent[id(tensor)] = (tensor, brought)
        self._sent[id(brought)] = (brought, brought)


def _held(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and loose tensors of a module itself, in an order that is the same in every process."""
    for held in (module._parameters, module._buffers, vars(module)):
        yield from ((name, value) for name, value in held.items() if isinstance(value, Tensor))


def from_first(tensor: Tensor, group: Group) -> Tensor:
    """The first process's `tensor`, contiguous and without a graph, on the device of each. For all together.

    In the other processes only shape and format of `tensor` count. On the CPU the first process's stays the same
    memory.
    """
    if group.rank == 0:
        whole = tensor.detach().to(group.device).contiguous()
    else:
        whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=group.device)
    group.send_from_first(whole)
    return whole
