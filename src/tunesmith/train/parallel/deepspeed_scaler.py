"""fp16's loss scale as DeepSpeed keeps it, in the form in which a step and its checkpoints know torch's scaler."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer


class ZeroScaler(torch.amp.GradScaler):
    """DeepSpeed scales losses in its backward, and gradients and the scale itself in its update; here one reads it.

    The state is torch's own, so that a run can go on with another engine. DeepSpeed doubles the scale after a number of
    steps without an overflow, and halves it at each, as torch does (its hysteresis is set to 1).
    """

    def __init__(self, loss_scaler: Any) -> None:
        super().__init__("cpu", enabled=True)
        self._loss_scaler = loss_scaler

    def scale(self, outputs: Any) -> Any:
        """Unscaled: the backward scales."""
        return outputs

    def unscale_(self, optimizer: Optimizer) -> None:
        """Nothing: the update does it."""

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        """Nothing: the update does it."""

    def get_scale(self) -> float:
        """DeepSpeed's."""
        return float(self._loss_scaler.cur_scale)

    def state_dict(self) -> dict[str, Any]:
        """torch's keys."""
        since = self._loss_scaler.cur_iter - self._loss_scaler.last_overflow_iter - 1
        return {
            "scale": self.get_scale(),
            "growth_factor": self._loss_scaler.scale_factor,
            "backoff_factor": 1 / self._loss_scaler.scale_factor,
            "growth_interval": self._loss_scaler.scale_window,
            "_growth_tracker": since,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The scale, and how long it has lasted; the rest stays as the settings say."""
        if state_dict:
            self._loss_scaler.cur_scale = float(state_dict["scale"])
            self._loss_scaler.cur_iter = int(state_dict["_growth_tracker"])
            self._loss_scaler.last_overflow_iter = -1
