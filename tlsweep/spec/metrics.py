"""What trials can be compared by."""

from typing import Literal

Metric = Literal[
    "val_accuracy", "val_loss", "val_f1", "val_precision", "val_recall", "val_top5", "val_auroc", "val_ece",
    "val_worst_client",
]  # fmt: skip


def metric_sign(metric: str) -> int:
    """Return +1 where a higher metric is better, -1 where a lower one is: sign × metric is to be maximised."""
    return -1 if metric in ("val_loss", "val_ece") else 1
