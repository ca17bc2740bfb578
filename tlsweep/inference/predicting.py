"""Predictions for image files, batch by batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlsweep.data.decode import decode_some
from tlsweep.data.sources.folder import FileItems
from tlsweep.inference.models import Model
from tlsweep.training.evaluation import images_at_once


@dataclass(frozen=True)
class Prediction:
    """What a model finds in an image."""

    file: str
    classes: tuple[str, ...]
    """The most probable first."""
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Predictions:
    """What became of image files, in their order."""

    rows: Sequence[Prediction]
    bad: Mapping[str, str]
    """Files that do not decode, and why."""


def predict(
    model: Model, files: Sequence[str], *, top: int = 2, progress: Callable[[int, int], None] | None = None
) -> Predictions:
    """Predict each file; those that are no images are left out, and told.

    Args:
        model: The model.
        files: Paths.
        top: How many classes to name, where the model knows as many.
        progress: Is told how many files are done, and of how many.
    """
    rows: list[Prediction] = []
    bad: dict[str, str] = {}
    transform = model.info.transform()
    side, channels = transform.rule["stored_size"], transform.rule["channels"]
    items = FileItems("", tuple(files), (0,) * len(files))
    step = images_at_once(channels, side)
    for start in range(0, len(files), step):
        indices = range(start, min(start + step, len(files)))
        decoded = decode_some(items, indices, side, channels, transform.rendering)
        found = zip([files[index] for index in indices], decoded, strict=True)
        squares = {}
        for file, square in found:
            if isinstance(square, str):
                bad[file] = square
            else:
                squares[file] = square
        if squares:
            rows += _predicted(model, list(squares), np.stack(list(squares.values())), top)
        if progress:
            progress(indices.stop, len(files))
    return Predictions(rows, bad)


def _predicted(model: Model, files: list[str], squares: "np.typing.NDArray[np.uint8]", top: int) -> list[Prediction]:
    classes = model.info.classes
    # In float64, so that of many classes the probabilities add up to 1 as they are written.
    found = model.logits(squares).double().softmax(1).topk(min(top, len(classes)))
    return [
        Prediction(file, tuple(classes[label] for label in labels), tuple(probabilities))
        for file, labels, probabilities in zip(files, found.indices.tolist(), found.values.tolist(), strict=True)
    ]
