"""How a published checkpoint names and fuses the layers that transformers' class has under other names and apart.

Knows shapes and names only; which model has which layers is said by its family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """A published linear layer that stands for several of transformers'.

    published: the end of its dotted name, `attention.wqkv`
    native:    the ends of the dotted names of its parts, `self_attn.q_proj` and so on
    rows:      for each part the rows of the published weight that are its own, (rows of the part,) each
    """

    published: str
    native: tuple[str, ...]
    rows: tuple[torch.Tensor, ...]

    @property
    def num_rows(self) -> int:
        """Rows of the published weight."""
        return sum(len(rows) for rows in self.rows)

    def split(self, fused: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The parts of a tensor whose first dimension is the published layer's output."""
        return tuple(fused[rows.to(fused.device)] for rows in self.rows)

    def fuse(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The inverse of `split`."""
        first = parts[0]
        fused = first.new_empty((self.num_rows, *first.shape[1:]))
        for rows, part in zip(self.rows, parts, strict=True):
            fused[rows.to(first.device)] = part
        return fused


@dataclass(frozen=True, slots=True)
class PublishedLayers:
    """Every layer of a family that is published otherwise than transformers' class has it.

    renamed: ends of dotted names, published and native
    fused:   layers that are several natively
    """

    renamed: tuple[tuple[str, str], ...]
    fused: tuple[FusedLayer, ...] = ()

    def to_native(self, module: str) -> str:
        """The native name of a published module that is only renamed; any other comes back as it is."""
        return _rename(module, self.renamed)

    def to_published(self, module: str) -> str:
        """The published name of a native module that is only renamed; any other comes back as it is."""
        return _rename(module, tuple((native, published) for published, native in self.renamed))

    def fused_layer(self, module: str) -> tuple[str, FusedLayer] | None:
        """What stands before the fused layer's name in `module`, and the layer; None for other modules."""
        for layer in self.fused:
            if ends_in(module, layer.published):
                return module.removesuffix(layer.published), layer
        return None

    def part_of(self, module: str) -> tuple[str, FusedLayer] | None:
        """What stands before the name of a fused layer's part in `module`, and the layer; None for other modules."""
        for layer in self.fused:
            for name in layer.native:
                if ends_in(module, name):
                    return module.removesuffix(name), layer
        return None

    def native_names(self, name: str) -> list[str]:
        """What a published name, whole or its last step, stands for natively (`wqkv`: three); any other as it is."""
        for layer in self.fused:
            if ends_in(layer.published, name):
                return [part.rpartition(".")[2] for part in layer.native]
            if ends_in(name, layer.published):
                return [name.removesuffix(layer.published) + part for part in layer.native]
        return [_rename(name, self.renamed)]

    def published_names(self, name: str) -> list[str]:
        """What a native name, whole or its last step, is called as published; any other as it is."""
        parts = tuple((part, layer.published) for layer in self.fused for part in layer.native)
        return [_rename(name, (*parts, *((native, published) for published, native in self.renamed)))]

    def is_published(self, module: str) -> bool:
        """Whether a dotted name is one that only the published layout has."""
        return any(ends_in(module, published) for published, _ in self.renamed) or self.fused_layer(module) is not None


def ends_in(module: str, name: str) -> bool:
    """Whether the last steps of a dotted name are `name`."""
    return module == name or module.endswith(f".{name}")


def _rename(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """`name`, whole or the last step of one of the `pairs`' first names, with the second name for it."""
    for old, new in pairs:
        if ends_in(name, old):
            return name.removesuffix(old) + new
        if ends_in(old, name):
            return new.rpartition(".")[2]
    return name
