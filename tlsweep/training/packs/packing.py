"""Which trials do their epochs together."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from tlsweep.data.pixels.streamed import Streamed
from tlsweep.models.stacked import StackedLayers, stack_layers
from tlsweep.models.tail import Tail
from tlsweep.training.devices import lower_precision
from tlsweep.training.figures import TrainingFigures
from tlsweep.training.optimization.fused_steps import STEPS_FUSED
from tlsweep.training.packs.stack import Stack
from tlsweep.training.trainer import Trainer

LARGEST_STEP = 2**23
"""Multiplications in a forward pass of a batch up to which a network on a CPU is computed in a stack, also alone. Above
that a step is arithmetic, and a core does not get through with it faster (`tests/bench/packs.py`)."""
MOST = 32
"""Trials that a place has at most, unless the spec says otherwise."""
MOST_BYTES = 2**30
"""What the networks of all trials in a place may take: each has all of its own, also where its head alone learns."""


@dataclass(frozen=True)
class Stackable:
    """How a trainer's next epoch can be computed in a stack."""

    layers: StackedLayers
    names: tuple[str, ...]
    """The parameters that learn."""
    key: Hashable
    """Equal for trainers that can do it together."""


class Alone:
    """A trainer that does its epochs by itself."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainers = (trainer,)

    def train_epoch(self) -> list[TrainingFigures]:
        """As `Trainer.train_epoch`."""
        return [self.trainers[0].train_epoch()]


class Packs:
    """Puts trainers together that can do their next epoch so."""

    def __init__(self) -> None:
        self._stacks: dict[tuple[Trainer, ...], Stack] = {}
        self._known: dict[Trainer, tuple[object, Stackable | None]] = {}

    def stackable(self, trainer: Trainer) -> Stackable | None:
        """How the next epoch of a trainer that is ready for it (`Trainer.begin_epoch`) can be computed in a stack."""
        follows_from = (trainer.forward, trainer.scheduled_batch_size)
        if trainer not in self._known or self._known[trainer][0] != follows_from:
            self._known[trainer] = (follows_from, _stackable(trainer))
        return self._known[trainer][1]

    def groups(self, trainers: Iterable[Trainer]) -> list[Stack | Alone]:
        """Who does the next epoch with whom; the numbers of a trainer do not depend on the others."""
        found: dict[Hashable, tuple[Stackable | None, list[Trainer]]] = {}
        for trainer in trainers:
            one = self.stackable(trainer)
            found.setdefault(trainer if one is None else one.key, (one, []))[1].append(trainer)
        return [self._group(how, tuple(members)) for how, members in found.values()]

    def forget(self, trainers: Iterable[Trainer]) -> None:
        """Keep nothing of trainers that are gone."""
        for trainer in trainers:
            self._known.pop(trainer, None)
            self._take_apart(trainer)

    def _group(self, one: Stackable | None, members: tuple[Trainer, ...]) -> Stack | Alone:
        if one is None:
            return Alone(members[0])
        # A stack that stays as it is needs not be put together again.
        if members not in self._stacks:
            for trainer in members:
                self._take_apart(trainer)
            self._stacks[members] = Stack(members, one.layers, one.names)
        return self._stacks[members]

    def _take_apart(self, trainer: Trainer) -> None:
        """Forget stacks with this trainer, whose parameters stay where they are until they are in another one."""
        for members in [members for members in self._stacks if trainer in members]:
            del self._stacks[members]


def _stackable(trainer: Trainer) -> Stackable | None:
    """How the next epoch of a trainer, which has chosen its way, can be computed in a stack; None where it cannot."""
    if not _steps_can(trainer):
        return None
    found = _layers(trainer)
    if found is None:
        return None
    layers, names = found
    batch = trainer.scheduled_batch_size
    if trainer.settings.pack == "auto" and batch * layers.multiplications(trainer.task.image_size) > LARGEST_STEP:
        return None
    samples = trainer.task.size("train")
    return Stackable(layers, names, (layers.shape, layers.maps, names, batch, samples, trainer.criterion))


def _steps_can(trainer: Trainer) -> bool:
    """Whether all that a step of this trainer does can be done for several, its network apart."""
    settings, criterion = trainer.settings, trainer.criterion
    values = trainer.hyperparameters
    mixes = values.mixup > 0 or values.cutmix > 0
    return (
        type(trainer) is Trainer  # the clients of a federation are regularised by what each has
        and settings.pack != "off"
        and (settings.pack != "auto" or trainer.device == "cpu")
        and values.optimizer in STEPS_FUSED
        and criterion.class_weights is None
        and not (criterion.focal_gamma or mixes or trainer.noise or settings.compile)
        and trainer.micro_batch.limit is None
        # Processes that decode ahead for a GPU give one pass of it at a time.
        and not (isinstance(trainer.task.images, Streamed) and trainer.device != "cpu")
        and lower_precision(settings, trainer.device) is None
    )


def _layers(trainer: Trainer) -> tuple[StackedLayers, tuple[str, ...]] | None:
    """The layers that the next epoch goes through, and the names of the parameters that learn in it."""
    names = tuple(name for name, _ in trainer.module.named_parameters())
    tail = trainer.forward
    if isinstance(tail, Tail):
        modules = {module: name for name, module in trainer.module.named_modules()}
        if not all(layer in modules for layer in tail.layers):
            return None
        layers = stack_layers([(modules[layer], layer) for layer in tail.layers], rows=True)
        head = f"{modules[tail.head]}."
        learning = tuple(name for name in names if name.startswith(head))
        return None if layers is None or layers.maps else (layers, learning)
    if trainer.hyperparameters.freeze != "nothing" or any(True for _ in trainer.module.buffers()):
        return None
    layers = stack_layers([("", trainer.module)], rows=False)
    if layers is None or (layers.maps and not trainer.channels_last):
        return None
    return layers, names
