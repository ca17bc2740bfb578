"""`check --suggest`: bounds of the search that are measured, not guessed."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tlsweep.observer import Observer, Silence
from tlsweep.spec import Hyperparameters, ImageSpec
from tlsweep.spec.optimizers import OPTIMIZERS
from tlsweep.spec.search.per_batch_size import PerBatchSize
from tlsweep.spec.search.space import Distribution, LogUniform, Value
from tlsweep.sweep.heads import begun
from tlsweep.sweep.prepare import fewest_images, prepare, pretrain_here, read_images, settled

if TYPE_CHECKING:
    # `as`, because the terminal's room takes it from here, and mypy lets only such names out (no_implicit_reexport).
    from tlsweep.planning.lr_range import RangeTest as RangeTest

FEWEST = 8
"""The smallest batch that is proposed: below, a step does not use the processor well."""


@dataclass(frozen=True)
class Suggestion:
    """What `tlsweep check --suggest` prints and writes."""

    noise_scales: tuple[float, float]
    """The noise scales in samples: of the network that trials start with, and after the steps of a range test in the
    middle of its bounds. NaN where the gradient cannot be told from its noise."""
    noise_batch_size: int
    """The batch size of those steps."""
    train_images: int
    batch_sizes: tuple[int, int]
    range_tests: tuple["RangeTest", ...]
    """The tests with the smallest and the largest batch size that are proposed, for each optimizer."""
    lr: tuple[float, float] | None
    """The bounds of lr; None where the optimizer finds it itself."""
    per: PerBatchSize | None = None
    """How the spec searches lr per batch size: the bounds are those at its reference."""

    @property
    def changes(self) -> dict[str, Any]:
        """What to write into the `train:` section."""
        sizes = {"batch_size": {"powers_of_two": list(self.batch_sizes)}}
        if self.lr is None:
            return sizes
        lr = {"loguniform": list(self.lr)}
        return {"lr": self.per.with_distribution(lr) if self.per else lr, **sizes}


def suggest(spec: ImageSpec, *, observer: Observer | None = None, seconds_per_image: float = 0.0) -> Suggestion:
    """Measure the gradient noise scale and the range of useful learning rates, with the data and weights of a spec.

    What else is searched is held at the middle of its bounds; of weights that are searched the first are taken.

    Args:
        observer: is told each step, of how many, and where `seconds_per_image` is known how long it will take.
        seconds_per_image: what `Plan` knows of training.

    Raises:
        UserError: spec, data and model do not fit together, or the loss falls at no learning rate.
    """
    from tlsweep.planning.lr_range import STEPS, RangeTest, range_test
    from tlsweep.planning.noise_measurement import measure_noise_scale
    from tlsweep.training import Compute

    watcher = observer or Silence()
    watcher.phase("reading images")
    prepared = prepare(spec, read_images(spec, watcher), watcher)
    spec = settled(spec, prepared.task)
    task, name = prepared.task, next(iter(spec.model.origins))
    if source := prepared.sources.get(name):
        watcher.phase("pretraining on the source task")
    weights = pretrain_here(spec, name, source) if source else prepared.weights[name]
    compute, settings = Compute(threads=spec.resources.threads), spec.train.settings()
    watcher.phase("finding what the heads of trials begin with")
    options: dict[str, Any] = {"compute": compute, "progress": watcher.progress}
    transfer = begun(spec, prepared.transfer(spec, weights), **options)
    values, optimizers = centre(spec), _optimizers(spec)
    numbers, steps = itertools.count(1), 2 + 2 * len(optimizers) if optimizers else 1

    def begin(what: str, images: int) -> None:
        takes = f", about {max(images * seconds_per_image, 1.0):.0f} s" if seconds_per_image else ""
        watcher.phase(f"{next(numbers)} of {steps}: {what}{takes}")

    def test(optimizer: Value, batch_size: int) -> RangeTest:
        begin(f"lr range test, {optimizer}, batches of {batch_size}", STEPS[0] * batch_size)
        return range_test(centre(spec, optimizer=optimizer, batch_size=batch_size), settings, transfer, **options)

    if optimizers:
        middle = test(optimizers[0], values.batch_size)
        # The middle of the decades, as lr is searched by its logarithm.
        lr = math.sqrt(middle.lower * middle.upper)
        values = centre(spec, optimizer=optimizers[0], lr=lr)
    begin(f"gradient noise scale, batches of {values.batch_size}", _noise_images(values.batch_size, task.size("train")))
    scales = measure_noise_scale(values, settings, transfer, steps=STEPS[0], **options)
    sizes = batch_sizes(scales, fewest_images(spec, task))
    tests = tuple(test(optimizer, size) for optimizer in optimizers for size in sizes)
    per = spec.train.scaling.per
    return Suggestion(scales, values.batch_size, task.size("train"), sizes, tests, lr_bounds(tests, per), per)


def images_needed(spec: ImageSpec, train_images: int) -> tuple[int, int]:
    """How many images `suggest` trains on, at least and at most: it follows from the batch sizes that it will find.

    Where a loss does not fall within 100 steps, which is rare with pretrained weights, there are more.
    """
    from tlsweep.planning.lr_range import STEPS

    middle, optimizers = centre(spec).batch_size, len(_optimizers(spec))
    known = _noise_images(middle, train_images) + STEPS[0] * middle * min(optimizers, 1)
    smallest, largest = batch_sizes([1.0], train_images), batch_sizes([8.0 * train_images], train_images)
    return known + optimizers * STEPS[0] * sum(smallest), known + optimizers * STEPS[0] * sum(largest)


def _noise_images(batch_size: int, train_images: int) -> int:
    from tlsweep.planning.lr_range import STEPS
    from tlsweep.planning.noise_measurement import IMAGES

    return STEPS[0] * batch_size + 2 * min(IMAGES, train_images)


APART = 3.0
"""Times that the lr from which large batches learn no more is beyond that of small ones: then one range for both
samples many trials that cannot learn."""


def lr_per_batch_size(suggestion: Suggestion) -> PerBatchSize | None:
    """How lr is searched alike for all batch sizes, where the bounds of small and large ones lie far apart; else None.

    The power is the one of 0.5 (which suits Adam) and 1 (SGD) that the bounds are closer to.
    """
    small, large = suggestion.batch_sizes
    uppers = {(test.optimizer, test.batch_size): test.upper for test in suggestion.range_tests}
    apart = max((uppers[name, large] / uppers[name, small] for name, size in uppers if size == small), default=1.0)
    if suggestion.lr is None or suggestion.per or apart <= APART:
        return None
    power = 1.0 if math.log(apart, large / small) > 0.75 else 0.5
    per = PerBatchSize(LogUniform(*suggestion.lr), power)
    bounds = lr_bounds(suggestion.range_tests, per)
    assert bounds is not None  # there are tests
    low, high = (float(f"{bound:.2g}") for bound in bounds)
    return replace(per, at_reference=LogUniform(low, high))


def lr_bounds(tests: Sequence["RangeTest"], per: PerBatchSize | None) -> tuple[float, float] | None:
    """The bounds that hold every test's; where lr is searched per batch size, those at its reference."""
    factors = [per.factor(test.batch_size) if per else 1.0 for test in tests]
    lows = [test.lower / factor for test, factor in zip(tests, factors, strict=True)]
    highs = [test.upper / factor for test, factor in zip(tests, factors, strict=True)]
    return (min(lows), max(highs)) if tests else None


def centre(spec: ImageSpec, **values: Value) -> Hyperparameters:
    """The hyperparameters in the middle of what is searched, beside `values`."""
    middle = {name: _middle(space) for name, space in spec.train.space().items()}
    values = spec.train.scaling.in_force(middle) | values
    return spec.train.resolve(values, layer_decay=spec.usual_layer_decay or 1.0)


def _middle(space: Distribution) -> Value:
    """Half of the decades up, where these are uniform; of words the first."""
    values = space.grid(3)
    if isinstance(values[0], str | bool):
        return values[0]
    return values[len(values) // 2]


def _optimizers(spec: ImageSpec) -> list[Value]:
    """All that trials may use, but for those that find their learning rate themselves."""
    space = spec.train.space().get("optimizer")
    names = space.extremes if space else (centre(spec).optimizer,)
    return [name for name in names if not OPTIMIZERS[str(name)].finds_lr]


def batch_sizes(noise_scales: Sequence[float], images: int) -> tuple[int, int]:
    """The powers of two between which to search, from the noise scale B at several moments of the training.

    From B/8, where training needs 1/8 more samples than with the smallest batches (1 + batch/B times as many), to 2 B,
    where it needs half more steps than with the largest (1 + B/batch times as many; McCandlish et al. 2018, equation
    2.11), of the smallest and the largest B; but at least 8, at most the training split, and two sizes. Where a B is
    not known since the gradient drowns in its noise, no batch is too large; where none is known, none is too small.

    >>> batch_sizes([100.0, 400.0], 5000)
    (8, 512)
    """
    largest = 2 ** int(math.log2(images))
    known = [scale for scale in noise_scales if not math.isnan(scale)]
    high = 2 * max(known) if len(known) == len(noise_scales) else images
    low = min(known, default=0) / 8
    upper = min(max(2 ** math.floor(math.log2(max(high, 1))), 2 * FEWEST), largest)
    lower = min(max(2 ** math.floor(math.log2(max(low, 1))), FEWEST), upper // 2)
    return lower, upper
