"""What training minimises: cross entropy or focal loss of class indices or probabilities, with weights for classes.

Validation reports plain cross entropy whatever is minimised, so that trials are compared by one measure.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tlsweep.data import Task
from tlsweep.data.balance import class_weights
from tlsweep.spec import Hyperparameters, TrainSettings


@dataclass(frozen=True)
class Loss:
    """A weighted mean over images: each counts with the weight of its class, and a sum of weights divides.

    Targets are class indices (n,), or probabilities of classes (n, classes), as mixed images have them. An image of
    several classes counts with the mean of their weights. For indices this is torch's `cross_entropy`; of probabilities
    torch divides by their number whatever they weigh, so that half an image of two classes would count otherwise than
    each of them.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    """The focal loss's exponent; 0 is cross entropy, to the last bit."""
    class_weights: Tensor | None = None
    """Shape (classes,); None: all count alike."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted mean over these images, a scalar.

        Args:
            logits: shape (n, classes).
            targets: shape (n,) or (n, classes).
        """
        if self.focal_gamma:
            return self._focal(logits, targets).sum() / self.weight(targets)
        weights, smoothing = self.class_weights, self.label_smoothing
        if weights is not None:
            # A network of the user's may compute in float64, and torch takes no weights of another type then.
            weights = weights.to(torch.promote_types(logits.dtype, weights.dtype))
        if weights is None or not targets.is_floating_point():
            return F.cross_entropy(logits, targets, weights, label_smoothing=smoothing)
        total = F.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="sum")
        return total / self.weight(targets)

    def weight(self, targets: Tensor) -> Tensor | int:
        """What these images weigh together: the mean over a batch is that over its parts, each times its weight."""
        if self.class_weights is None:
            return len(targets)
        if targets.is_floating_point():
            return (targets @ self.class_weights).sum()
        return self.class_weights[targets].sum()

    def _focal(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Shape (n, classes): the terms -w (1 - p)^gamma target log p (Lin et al. 2017, equation 5)."""
        # Never in the 8 significant bits that autocast gives logits, where 1 - p would have none left.
        logarithms = logits.log_softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
        if not targets.is_floating_point():
            targets = F.one_hot(targets, logits.shape[1]).to(logarithms)
        smoothing = self.label_smoothing
        targets = targets * (1 - smoothing) + smoothing / logits.shape[1]
        # 1 - p without cancellation. Where p is 1 a power below 1 has an infinite slope, and NaN for a gradient.
        missing = (-logarithms.expm1()).clamp_min(torch.finfo(logarithms.dtype).tiny)
        terms = -targets * missing**self.focal_gamma * logarithms
        return terms if self.class_weights is None else terms * self.class_weights


def make_loss(hyperparameters: Hyperparameters, settings: TrainSettings, task: Task, device: str) -> Loss:
    """The loss of a trial; `balanced` weights are those of its own training split."""
    weights = class_weights(settings.class_weights, task)
    return Loss(
        hyperparameters.label_smoothing,
        hyperparameters.focal_gamma if settings.loss == "focal" else 0.0,
        None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device),
    )
