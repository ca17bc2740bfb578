"""How networks do that have done an epoch together."""

from collections.abc import Sequence

from tlsweep.training.evaluation import evaluate_each
from tlsweep.training.metrics import Evaluation
from tlsweep.training.trainer import Trainer

MOST_LOGITS = 2**22
"""Of all networks together, 16 MiB. With more images or classes than that, a network takes so long to make its own that
it matters little how they are judged."""


def validate(trainers: Sequence[Trainer]) -> dict[Trainer, Evaluation]:
    """The validation of each after an epoch, in which they did the same steps, as `Trainer.evaluate` gives it."""
    found: dict[Trainer, Evaluation] = {}
    for together in _for_the_same_images(trainers):
        task = together[0].task
        if len(together) == 1 or len(together) * task.size("val") * task.num_classes > MOST_LOGITS:
            found |= {trainer: trainer.evaluate("val") for trainer in together}
            continue
        ways = [trainer.way_evaluated("val") for trainer in together]
        with together[0].autocast:
            evaluations = evaluate_each(ways, task, "val", [trainer.inference_batch for trainer in together])
        for trainer, evaluation in zip(together, evaluations, strict=True):
            trainer.schedule.observe(trainer.epoch, evaluation.loss)
            found[trainer] = evaluation
    return found


def _for_the_same_images(trainers: Sequence[Trainer]) -> list[list[Trainer]]:
    """Those that share the very arrays which say what is validated; each has a view of the task of its own."""
    found: dict[tuple[int, int], list[Trainer]] = {}
    for trainer in trainers:
        task = trainer.task
        found.setdefault((id(task.labels), id(task.splits["val"])), []).append(trainer)
    return list(found.values())
