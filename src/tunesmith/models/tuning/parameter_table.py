"""`print_param_status`: what of a model trains, and how much memory it takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import nn

from tunesmith.models.adapters.attach import is_adapter_weight
from tunesmith.models.parts import find_parts
from tunesmith.models.quantization import is_packed


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of the model: number of parameters, of those that train, and bytes that either take."""

    part: str
    total: int
    trainable: int
    weight_bytes: int
    trainable_bytes: int


def parameter_table(model: nn.Module) -> tuple[PartRow, ...]:
    """A row per part in the model's order, adapters apart from what they sit on. Tied weights count once."""
    parts = find_parts(model)
    sums: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        label = f"{parts.part_of(name)}{', adapter' if is_adapter_weight(name) else ''}"
        number, size = _num_values(parameter), _num_elements(parameter) * parameter.element_size()
        row = sums.setdefault(label, [0, 0, 0, 0])
        trains = int(parameter.requires_grad)
        for column, value in enumerate((number, number * trains, size, size * trains)):
            row[column] += value
    return tuple(PartRow(label, *row) for label, row in sums.items())


def format_table(rows: tuple[PartRow, ...]) -> str:
    """The rows as text, with their sum and the memory that training them adds (gradients, AdamW's two moments)."""
    total = PartRow("all", *(sum(column) for column in zip(*map(_numbers, rows), strict=True)))
    width = max(len(row.part) for row in (*rows, total))
    lines = [f"{'part':<{width}}  {'parameters':>15}  {'trainable':>15}  {'share':>7}  {'weights':>10}"]
    lines += [
        f"{row.part:<{width}}  {row.total:>15,}  {row.trainable:>15,}  {row.trainable / max(row.total, 1):>7.2%}"
        f"  {_in_units(row.weight_bytes):>10}"
        for row in (*rows, total)
    ]
    lines.append(f"gradients and AdamW's moments add {_in_units(3 * total.trainable_bytes)}")
    return "\n".join(lines)


def _numbers(row: PartRow) -> tuple[int, int, int, int]:
    return row.total, row.trainable, row.weight_bytes, row.trainable_bytes


def _num_values(parameter: nn.Parameter) -> int:
    """How many weights a parameter stands for; packed 4-bit ones hold several in an element."""
    state = vars(parameter).get("quant_state") if is_packed(parameter) else None
    return prod(state.shape) if state is not None else _num_elements(parameter)


def _num_elements(parameter: nn.Parameter) -> int:
    """Elements of the whole parameter: between its uses ZeRO-3 leaves an empty tensor, and the number beside it."""
    return int(vars(parameter).get("ds_numel", parameter.numel()))


def _in_units(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"
