"""The average of the main arm's best networks: chosen on one half of the validation images, judged on the other.

Or that of the best one and of what it began with, as far as the validation images cannot tell them apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tlsweep.spec import MAIN_ARM, derive_seed
from tlsweep.store.ranking import Rank, rank
from tlsweep.sweep.trainable import Shared

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tlsweep.data.task import Indices
    from tlsweep.training import Evaluation
    from tlsweep.training.souping import Ingredient, Mix


@dataclass(frozen=True)
class Entry:
    """A trial of the main arm at its best epoch, or what trials begin with."""

    trial: str
    epoch: int
    digest: str | None
    """SHA-256 of its checkpoint; None of the start."""
    hyperparameters: Mapping[str, Any]
    network: "Ingredient"


@dataclass(frozen=True)
class Soup:
    """What came of averaging."""

    details: dict[str, Any]
    """Those of the event `souped`."""
    network: "Ingredient | None" = None
    """The average; None where there is none, and the details say why."""

    @property
    def handed_over(self) -> bool:
        """Whether it is better than the winner on the half that judges."""
        return bool(self.details.get("handed_over"))


def make_soup(winner: Entry, entries: Sequence[Entry], shared: Shared) -> Soup:
    """Average the networks that are the better for it, and compare the average with the winner.

    A function of the journal, the checkpoints and the images: a launch that is killed on the way does it again, with
    the same result.

    Args:
        winner: Of the main arm.
        entries: The trials that may be averaged, the best first.
        shared: What all trials have in common.
    """
    from tlsweep.training.souping import halves, search_mix

    if shared.spec.soup == "start":
        return _lean(winner, shared)
    name, _ = start = shared.beginning(MAIN_ARM, winner.hyperparameters)
    entries = [entry for entry in entries if shared.beginning(MAIN_ARM, entry.hyperparameters) == start]
    parts = halves(winner.network.transfer.task, shared.spec.seed)
    if parts is None or not entries or not winner.network.transfer.heads:
        return Soup({"trials": [], "reason": _why_not(entries, winner), "handed_over": False})
    judge = _Judge(shared)
    networks = [entry.network for entry in entries]
    mixed = partial(_mixed, networks, shared)
    best, tried = search_mix(len(entries), lambda mix: judge.rank(judge.on(mixed(mix), parts[0])))
    alone = [tried[type(best)((part,))] for part in range(len(entries))]
    details: dict[str, Any] = {
        "considered": [
            {**_named(entry), "score": judge.metric_of(score)} for entry, score in zip(entries, alone, strict=True)
        ],
        "weights": name,
        "ensemble": _ensemble(networks, shared),
    }
    if len(best.parts) == 1 and not best.start:
        reason = "on the half of the validation images that chooses no average is better than the best network alone"
        return Soup({**details, "trials": [], "reason": reason, "handed_over": False})
    network = mixed(best)
    details |= {
        "trials": [_named(entries[part]) for part in best.parts],
        "start_share": best.start,
        "chosen_on": {
            "images": len(parts[0]),
            "soup": judge.metric_of(tried[best]),
            "winner": judge.metric_of(judge.rank(judge.on(winner.network, parts[0]))),
        },
        **judge.compare(network, winner.network, parts[1]),
        "validation": judge.validation([network]),
    }
    return Soup(details, network)


def _lean(winner: Entry, shared: Shared) -> Soup:
    """Give each network of the winner as large a share of what it began with as its validation images cannot tell from
    none: the one of a winner, or those of its repeats, each decided on as if it were the only one.
    """
    from tlsweep.training import pack, unpack
    from tlsweep.training.souping import Ingredient

    if winner.network.checkpoint is None:
        reason = "no epoch of training is better than what trials begin with, which is the winner"
        return Soup({"trials": [], "reason": reason, "handed_over": False})
    if not winner.network.transfer.heads:
        return Soup({"trials": [], "reason": _why_not([winner], winner), "handed_over": False})
    judge, runs = _Judge(shared), winner.network.transfer.runs()
    checkpoints = unpack(winner.network.checkpoint, len(runs))
    leaning = [_lean_one(Ingredient(*part), judge, shared) for part in zip(checkpoints, runs, strict=True)]
    images = leaning[0].images
    if not any(network.share for network in leaning):
        reason = f"{images} validation images tell that any share of what trials begin with is worse than none"
        return Soup({"trials": [], "reason": reason, "handed_over": False})
    shares, losses, errors = zip(*((network.share, network.loss, network.se) for network in leaning), strict=True)
    details = {
        "trials": [_named(winner)],
        "start_share": fmean(shares),
        "start_shares": list(shares),
        "weights": shared.beginning(MAIN_ARM, winner.hyperparameters)[0],
        # The same images judge all networks, so that the mean of their errors is none too small.
        "judged_on": {"images": images, "loss": fmean(losses), "se": fmean(errors)},
        "validation": judge.validation([network.mixed for network in leaning]),
        "handed_over": True,
    }
    mixed = [network.mixed.checkpoint for network in leaning if network.mixed.checkpoint is not None]
    return Soup(details, Ingredient(pack(mixed), winner.network.transfer))


@dataclass(frozen=True)
class _Leaning:
    """A network with a share of what it began with."""

    mixed: "Ingredient"
    share: float
    images: int
    """The validation images that judged it."""
    loss: float = 0.0
    """How much larger its loss is there than without, and"""
    se: float = 0.0
    """the standard error of that."""


def _lean_one(network: "Ingredient", judge: "_Judge", shared: Shared) -> _Leaning:
    """Give a network as large a share of its start as the validation images cannot tell from none.

    The one-standard-error rule (Breiman et al. 1984), with the start as the simpler network: of those whose validation
    loss is no more than one standard error of the paired difference above the winner's, the one nearest to the start,
    unless clearly fewer images are right: by two standard errors.
    Between the ends weights are often better on other images than at either (Wortsman et al. 2022, arXiv:2109.01903),
    and trials and epochs were chosen on the same images, which flatters the winner the more, the fewer they are.
    """
    from tlsweep.training.souping import LEANING_SHARES, Mix

    own = judge.losses_and_mistakes(network)
    images = own.shape[1]
    for share in LEANING_SHARES:
        mixed = _mixed([network], shared, Mix((0,), share))
        more = judge.losses_and_mistakes(mixed) - own
        (loss, mistakes), errors = more.mean(1), more.std(1, ddof=1) / math.sqrt(images)
        # The loss tells networks apart sooner than counts do; where it misleads, as it does of one that is too sure of
        # itself, fewer images that are right are a reason to keep what was trained.
        if loss <= errors[0] and mistakes <= 2 * errors[1]:
            return _Leaning(mixed, share, images, float(loss), float(errors[0]))
    return _Leaning(network, 0.0, images)


def _mixed(networks: "Sequence[Ingredient]", shared: Shared, mix: "Mix") -> "Ingredient":
    from tlsweep.training.souping import Ingredient, blend

    settings, compute = shared.spec.train.settings(), shared.compute({})
    seed = derive_seed(shared.spec.seed, "soup", "statistics")
    checkpoint = blend(networks, mix, seed=seed, settings=settings, compute=compute)
    return Ingredient(checkpoint, networks[mix.parts[0]].transfer)


def _why_not(entries: Sequence[Entry], winner: Entry) -> str:
    if not entries:
        return "no checkpoint of a trial that starts from the winner's weights is sound"
    if not winner.network.transfer.heads:
        return "the heads of trials began with random values, each trial's with its own, so that they share no start"
    return "the validation images are fewer than two of each class, and one half has to choose, the other to judge"


def _named(entry: Entry) -> dict[str, Any]:
    return {"trial": entry.trial, "epoch": entry.epoch, "digest": entry.digest}


def _ensemble(networks: "Sequence[Ingredient]", shared: Shared) -> dict[str, float] | None:
    from tlsweep.training.souping import evaluate_ensemble

    settings, compute = shared.spec.train.settings(), shared.compute({})
    return evaluate_ensemble(networks, split="test", settings=settings, compute=compute)


class _Judge:
    """Tells how good networks are on validation images."""

    def __init__(self, shared: Shared) -> None:
        self._spec, self._compute = shared.spec, shared.compute({})

    def on(self, network: "Ingredient", images: "Indices | None" = None) -> "Evaluation":
        """How a network does on some validation images, or on all of them."""
        from tlsweep.data.views import with_splits
        from tlsweep.training import evaluate_checkpoint

        transfer = network.transfer
        if images is not None:
            transfer = replace(transfer, task=with_splits(transfer.task, {"val": images}))
        settings = self._spec.train.settings()
        return evaluate_checkpoint(network.checkpoint, transfer, split="val", settings=settings, compute=self._compute)

    def rank(self, evaluation: "Evaluation") -> Rank:
        search = self._spec.search
        value = getattr(evaluation, search.metric.removeprefix("val_"))
        return rank(value, evaluation.loss, 0, sign=search.sign)

    def metric_of(self, score: Sequence[float]) -> float | None:
        """The metric of the sweep behind a rank; None where it was no finite number."""
        return self._spec.search.sign * score[0] if math.isfinite(score[0]) else None

    def validation(self, networks: "Sequence[Ingredient]") -> dict[str, float]:
        """All figures on all validation images, by the names of their columns; of several networks the means, and
        their standard errors."""
        from tlsweep.training.summary import over_runs

        figures = over_runs([self.on(network).to_dict() for network in networks])
        return {f"val_{name}": value for name, value in figures.items() if value is not None}

    def losses_and_mistakes(self, network: "Ingredient") -> "npt.NDArray[np.float64]":
        """The cross-entropy of each validation image, and 1 where its class is mistaken; shape (2, images)."""
        import numpy as np

        found = self.on(network)
        # As float32 a probability may be 0, and the loss is a finite number.
        probabilities = np.maximum(found.label_probabilities, np.finfo(np.float32).tiny)
        return np.stack([-np.log(probabilities, dtype=np.float64), 1.0 * (found.predictions != found.labels)])

    def compare(self, network: "Ingredient", winner: "Ingredient", images: "Indices") -> dict[str, Any]:
        """Who is better on images that neither was averaged for; the winner's trial and epoch were chosen on them."""
        from tlsweep.report.intervals import bootstrap_mean

        ours, theirs = self.on(network, images), self.on(winner, images)
        right = [1.0 * (judged.predictions == judged.labels) for judged in (ours, theirs)]
        ahead = bootstrap_mean((right[0] - right[1]).tolist(), derive_seed(self._spec.seed, "soup", "bootstrap"))
        reached, needed = self.rank(ours), self.rank(theirs)
        return {
            "judged_on": {
                "images": len(images),
                "soup": self.metric_of(reached),
                "winner": self.metric_of(needed),
                "ahead": ahead.value,
                "low": ahead.low,
                "high": ahead.high,
            },
            "handed_over": reached[0] > needed[0],
        }
