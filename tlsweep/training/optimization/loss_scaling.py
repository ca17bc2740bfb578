"""Loss scaling: gradients in float16 are multiplied so that they do not vanish, and divided before a step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tlsweep.training.optimization.eager_steps import step


class LossScaling:
    """Torch's `GradScaler` around an optimizer. Without float16 it does nothing but step.

    A step whose gradients overflow is left out, and the scale halved: the first ones, until the scale fits.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: str, *, enabled: bool) -> None:
        self._optimizer, self._enabled = optimizer, enabled
        self._scaler = torch.amp.GradScaler(torch.device(device).type, enabled=enabled)
        self.stepped: bool | Tensor = True
        """Whether the last step was made; on the device, as 0 or 1, where only that knows."""
        if enabled:
            optimizer.register_step_post_hook(self._note)

    def scale(self, loss: Tensor) -> Tensor:
        """What backward begins with, in place of `loss`."""
        return self._scaler.scale(loss)

    def unscale(self) -> None:
        """Divide the gradients of the whole batch, before anybody looks at them."""
        self._scaler.unscale_(self._optimizer)

    def step(self) -> None:
        """Take the optimizer's step, unless a gradient has overflowed."""
        if not self._enabled:
            step(self._optimizer)
            return
        # Optimizers that are not fused are not called where a gradient is infinite (torch/amp/grad_scaler.py).
        self.stepped = False
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _note(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        # Fused ones are told on the device, by this attribute, to change nothing.
        overflowed: Tensor | None = getattr(optimizer, "found_inf", None)
        self.stepped = True if overflowed is None else 1 - overflowed

    def state(self) -> dict[str, float]:
        """What a checkpoint must hold of it: nothing without float16."""
        state = self._scaler.state_dict()
        return {"scale": state["scale"], "steps": state["_growth_tracker"]} if self._enabled else {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on with what `state` gave; without it, as new."""
        if self._enabled and state:
            told = {"scale": float(state["scale"]), "_growth_tracker": int(state["steps"])}
            self._scaler.load_state_dict(self._scaler.state_dict() | told)
