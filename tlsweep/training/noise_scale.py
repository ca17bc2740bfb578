"""The gradient noise scale: how large a batch is worth its samples.

B_simple = tr(Σ) / |G|², in samples, with G the gradient of the loss over the distribution that the images come from,
and Σ the covariance of the gradients of single images (McCandlish et al. 2018, "An Empirical Model of Large-Batch
Training", appendix A.1). Far below it, twice the batch saves half of the steps; far above it, nothing. Neither G nor Σ
is ever known, but squared norms of the gradients of a batch and of its parts estimate both without bias.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

INTERVAL = 32
"""Steps between two measurements of tr(Σ), each of which costs about as much as a step."""
PARTS = 2
MIN_BATCH = 2 * PARTS
"""Batch norm needs two samples in each part."""
MEMORY = 0.8
"""What a moving average keeps from one measurement to the next."""


def unbiased(small: Sequence[tuple[int, float]], big: tuple[int, float]) -> tuple[float, float]:
    """Estimates of |G|² and tr(Σ) from gradients over batches of two sizes.

    A mean gradient over b samples has E|g|² = |G|² + tr(Σ) / b. Of two such equations, the mean of those of the parts
    and that of the whole, the two unknowns are the solution. An estimate of |G|² may come out negative.

    Args:
        small: samples, and squared norm of the mean gradient, of each part of a batch.
        big: the same of the whole batch.
    """
    inverse = sum(1 / samples for samples, _ in small) / len(small)
    noisy = sum(norm for _, norm in small) / len(small)
    samples, norm = big
    trace = (noisy - norm) / (inverse - 1 / samples)
    return norm - trace / samples, trace


def noise_scale(gradient: float, trace: float) -> float:
    """Divide tr(Σ) by |G|², in samples; NaN where |G|² is not positive: the gradient cannot be told from its noise."""
    return trace / gradient if gradient > 0 else math.nan


class Gradients:
    """Squared norms of the gradients of parts of a batch, and of the batch itself. No parameter's `grad` is touched.

    Frozen parameters have no part in them. Batch norm in training mode normalises each part by itself.

    Args:
        loss: maps images (n, C, S, S) and labels (n,) to the mean loss, a scalar.
        module: whose parameters that are not frozen count.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], module: nn.Module) -> None:
        self._loss = loss
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.forget()

    def forget(self) -> None:
        """Forget what was measured."""
        self._sums: list[Tensor] = []
        self._parts: list[tuple[int, float]] = []

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Take one more part."""
        samples = len(labels)
        # A parameter that the loss does not reach has zeros then, in place of None.
        found = torch.autograd.grad(self._loss(images, labels), self._parameters, materialize_grads=True)
        self._parts.append((samples, float(_squared_norm(list(found)))))
        if not self._sums:
            self._sums = [torch.zeros_like(gradient) for gradient in found]
        torch._foreach_add_(self._sums, found, alpha=samples)

    def estimate(self) -> tuple[float, float]:
        """|G|² and tr(Σ), from at least two parts."""
        total = sum(samples for samples, _ in self._parts)
        return unbiased(self._parts, (total, float(_squared_norm(self._sums)) / total**2))


class NoiseScale:
    """B_simple along a training, from moving averages over the last 150 steps or so.

    tr(Σ) comes from one step in 32, |G|² from the gradient of every step, E|g|² = |G|² + tr(Σ) / B, since it is the one
    that scatters. The ratio of the averages is taken, which is less biased than an average of ratios.
    """

    def __init__(self, state: Mapping[str, float] | None = None) -> None:
        """Begin, or go on with what `state()` gave."""
        state = state or {}
        self._steps, self._measurements = int(state.get("steps", 0)), int(state.get("measurements", 0))
        self._norm: Tensor | float = state.get("norm", 0.0)  # on the device: asking for it would make every step wait
        self._inverse, self._trace = state.get("inverse", 0.0), state.get("trace", 0.0)

    def state(self) -> dict[str, float]:
        """All that the later values depend on."""
        return {
            "steps": self._steps, "measurements": self._measurements, "norm": float(self._norm),
            "inverse": self._inverse, "trace": self._trace,
        }  # fmt: skip

    def due(self) -> bool:
        """Whether tr(Σ) is to be measured at this step."""
        return self._steps % INTERVAL == 0

    def measured(self, trace: float) -> None:
        """Take in tr(Σ) of this step."""
        self._measurements += 1
        self._trace += (1 - MEMORY) * (trace - self._trace)

    def step(self, module: nn.Module, samples: int) -> None:
        """Take in the gradient of the step over `samples` samples that is about to be made."""
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        # So that both averages forget alike: this one is fed at every step, that of tr(Σ) at every 32nd.
        weight = 1 - MEMORY ** (1 / INTERVAL)
        self._steps += 1
        self._norm = self._norm + weight * (_squared_norm(gradients) - self._norm)
        self._inverse += weight * (1 / samples - self._inverse)

    @property
    def value(self) -> float:
        """The noise scale in samples; NaN where none was measured, or the gradient cannot be told from its noise."""
        if not self._measurements:
            return math.nan
        # The averages began at 0.
        steps, measurements = 1 - MEMORY ** (self._steps / INTERVAL), 1 - MEMORY**self._measurements
        trace = self._trace / measurements
        gradient = (float(self._norm) - trace * self._inverse) / steps
        return noise_scale(gradient, trace)


def _squared_norm(tensors: list[Tensor]) -> Tensor:
    """Square and sum all tensors on their device: half as many microseconds as torch.nn.utils.get_total_norm takes."""
    norms = torch.stack(torch._foreach_norm(tensors))
    return (norms if norms.device.type == "mps" else norms.double()).square().sum()  # Apple's GPUs have no float64
