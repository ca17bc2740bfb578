"""What a trial trains, whatever its hyperparameters."""

from dataclasses import dataclass, replace

from tlsweep.data import Task
from tlsweep.data.views import run_tasks
from tlsweep.models import Weights
from tlsweep.models.starting_head import StartingHead
from tlsweep.spec import ModelSpec
from tlsweep.training.normalising import normalised_for, statistics_of


@dataclass(frozen=True)
class Transfer:
    """A network, what it starts from, and the task that it is to learn."""

    task: Task
    """The images, split, normalised as the weights expect them unless the spec says otherwise; `train` is trained on,
    `val` is evaluated. If it has several runs (folds, repeats), as many networks are trained side by side, an epoch of
    each for an epoch of the trial."""
    model: ModelSpec
    """The network."""
    weights: Weights | None
    """What it starts from; None: random weights."""
    seed: int
    """Initialisation, order, augmentation and dropout follow from it."""
    heads: tuple[StartingHead, ...] = ()
    """What the new head of each run begins with; empty where that is torch's own initialisation."""

    def __post_init__(self) -> None:
        # Here, so that nothing that trains, evaluates or exports this network can see the images in another way.
        object.__setattr__(self, "task", normalised_for(self.task, statistics_of(self.weights)))

    def runs(self) -> list["Transfer"]:
        """What each run sees, with its own seed; the first's is the trial's."""
        seeds = [run.seed(self.seed) for run in self.task.runs] or [self.seed]
        heads: list[tuple[StartingHead, ...]] = [(head,) for head in self.heads] or [()] * len(seeds)
        views = zip(run_tasks(self.task), seeds, heads, strict=True)
        return [replace(self, task=view, seed=seed, heads=own) for view, seed, own in views]
