"""The verdict of a confirmation: a sweep's winner over fresh seeds, beside what it is set against."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

from tlsweep.report.arms import ArmResult, arm_results, evaluated
from tlsweep.report.intervals import Interval, another_like, over_seeds_and_images
from tlsweep.report.rivals import CONSTANT
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM
from tlsweep.spec.images import require_images
from tlsweep.spec.search.strategies import Claim, RecipeSearch
from tlsweep.spec.search.study import HYPERRULE_ARM, PROBE_ARM, SOUP_ARM, TUTORIAL_ARM
from tlsweep.text import one_line

_NAMES = {
    CONSTANT: "best constant",
    HYPERRULE_ARM: "HyperRule",
    PROBE_ARM: "linear probe",
    TUTORIAL_ARM: "PyTorch's tutorial",
}


@dataclass(frozen=True)
class Contender:
    """What one way of training reaches with each seed."""

    name: str
    result: ArmResult
    by_seed: tuple[float, ...]
    """The test accuracy of each seed; with folds, the mean over these."""
    test: Interval
    """Their mean; the interval is for other seeds and other test images."""
    behind: Interval | None
    """What the winner is ahead of it, paired by seed and image; None for the winner."""
    searched: bool
    """Whether it is another trial of the sweep."""

    @property
    def error(self) -> float:
        """The standard error of `test` over seeds."""
        return stdev(self.by_seed) / math.sqrt(len(self.by_seed))


@dataclass(frozen=True)
class Confirmation:
    """The winner and its rivals, and what the sweep had said of the winner."""

    winner: Contender
    """What the sweep's recipe hands over: its network, or that with a share of its start."""
    rivals: tuple[Contender, ...]
    """The best first."""
    claim: Claim
    images: int
    """Those of the test split."""
    folds: bool
    """Whether each seed has several networks, so that the standard error on validation is not one over seeds."""

    @property
    def seeds(self) -> int:
        """How many there are of each contender."""
        return len(self.winner.by_seed)

    @property
    def luck(self) -> list[str]:
        """What the sweep said too well of its winner, each in a sentence; that another contender is better says the
        verdict."""
        found = list[str]()
        claims = (("validation", self.claim.val_accuracy, self._validation()),
                  ("the test images", self.claim.test_accuracy, self._another()))  # fmt: skip
        for where, claimed, expected in claims:
            if claimed is not None and expected is not None and claimed > expected.high:
                found.append(
                    f"the sweep had luck on {where}: it says {claimed:.3f} of its winner, and another seed gives "
                    f"{expected.value:.3f} [{expected.low:.3f}, {expected.high:.3f}]"
                )
        return found

    @property
    def verdict(self) -> str:
        """Whether the winner is what the sweep says it is, in a sentence."""
        own = f"{self.winner.name} has {self.winner.test.value:.3f} over {self.seeds} fresh seeds"
        if not self.rivals:
            return f"{own}; there is nothing to set it against"
        standing, near = self._standing(), self.rivals[0]
        if standing == "confirmed":
            others = f"each of the {len(self.rivals)} others"
            return f"confirmed: {own}, clearly more than {others}; the nearest, {_lead(near)}"
        if standing == "not refuted":
            alike = [rival.name for rival in self.rivals if _behind(rival).low <= 0]
            return f"not refuted: {own}, the most, but these seeds and images cannot tell it from {_listed(alike)}"
        if standing == "not confirmed":
            return f"not confirmed: {own}, and {_lead(near)}, which may be chance"
        better = self._better()
        told = f"refuted: {own}, clearly less than {_listed([rival.name for rival in better])}; {_lead(better[0])}"
        if any(rival.searched for rival in better):
            return f"{told}: the sweep's own best was luck"
        return f"{told}: what needs no search is better"

    def _better(self) -> list[Contender]:
        """The rivals whose lead is no chance."""
        return [rival for rival in self.rivals if _behind(rival).high < 0]

    @property
    def holds(self) -> bool:
        """Whether no other contender has a higher mean."""
        return self._standing() in ("confirmed", "not refuted")

    @property
    def comparison(self) -> str:
        """What the sweep said, and what came of it here, in a sentence."""
        said = [f"{what} {claimed:.3f}, here {now}" for what, claimed, now in self._claims() if claimed is not None]
        return f"the sweep '{one_line(self.claim.sweep)}' says of {one_line(self.claim.trial)}: {'; '.join(said)}"

    def _claims(self) -> Iterator[tuple[str, float | None, str]]:
        result = self.winner.result
        val, error = result.val.get("accuracy"), result.val_error.get("accuracy")
        if val is not None and error is not None:
            yield "validation accuracy", self.claim.val_accuracy, f"{val:.3f} ± {error:.3f}"
        yield "test accuracy", self.claim.test_accuracy, f"{self.winner.test.value:.3f} ± {self.winner.error:.3f}"

    def _standing(self) -> str:
        if not self.rivals:
            return "not refuted"
        if self._better():
            return "refuted"
        if _behind(self.rivals[0]).value < 0:
            return "not confirmed"
        return "confirmed" if all(_behind(rival).low > 0 for rival in self.rivals) else "not refuted"

    def _validation(self) -> Interval | None:
        result, count = self.winner.result, self.seeds
        val, error = result.val.get("accuracy"), result.val_error.get("accuracy")
        if val is None or error is None or self.folds:
            return None
        return another_like(val, error, count, self.claim.networks)

    def _another(self) -> Interval:
        return another_like(self.winner.test.value, self.winner.error, self.seeds, self.claim.networks)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "verdict": self.verdict,
            "holds": self.holds,
            "luck": self.luck,
            "claim": self.claim.model_dump(mode="json"),
            "contenders": [_as_dict(contender) for contender in (self.winner, *self.rivals)],
        }


def _as_dict(contender: Contender) -> dict[str, Any]:
    test, behind = contender.test, contender.behind
    return {
        "arm": contender.result.arm,
        "name": contender.name,
        "val_accuracy": contender.result.val.get("accuracy"),
        "test_accuracy": test.value,
        "test_interval": [test.low, test.high],
        "by_seed": list(contender.by_seed),
        "behind": behind.value if behind else None,
        "behind_interval": [behind.low, behind.high] if behind else None,
    }


def _behind(rival: Contender) -> Interval:
    assert rival.behind is not None
    return rival.behind


def _lead(rival: Contender) -> str:
    """'t0003 has 0.949, which is +0.018 [+0.001, +0.035] against the winner'."""
    ahead = _behind(rival).reversed()
    interval = f"{ahead.value:+.3f} [{ahead.low:+.3f}, {ahead.high:+.3f}]"
    return f"{rival.name} has {rival.test.value:.3f}, which is {interval} against the winner"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def find_confirmation(tables: SweepTables) -> Confirmation | None:
    """The verdict of a sweep by `tlsweep confirm`; None of any other, and before all have met the test split."""
    search = tables.spec.search
    claim = search.claim if isinstance(search, RecipeSearch) else None
    if claim is None:
        return None
    trials = search.rivals_start.keys() - {CONSTANT}
    right, results = _right(tables), {result.arm: result for result in arm_results(tables)}
    there = [arm for arm in results if arm in right and right[arm].shape == right.get(MAIN_ARM, np.empty(0)).shape]
    if MAIN_ARM not in there or min(right[MAIN_ARM].shape) < 2:
        return None
    best = SOUP_ARM if SOUP_ARM in there else MAIN_ARM
    trial = one_line(claim.trial)
    names = {MAIN_ARM: trial} | _NAMES
    if best == SOUP_ARM:
        names |= {SOUP_ARM: f"{trial} with its start", MAIN_ARM: f"{trial} alone"}

    def contender(arm: str) -> Contender:
        behind = None if arm == best else over_seeds_and_images(right[best] - right[arm])
        by_seed, test = tuple(right[arm].mean(1).tolist()), over_seeds_and_images(right[arm])
        within = Interval(test.value, max(test.low, 0.0), min(test.high, 1.0))
        return Contender(names.get(arm, arm), results[arm], by_seed, within, behind, arm in trials)

    rivals = sorted((contender(arm) for arm in there if arm != best), key=lambda rival: -fmean(rival.by_seed))
    folds = require_images(tables.spec, "'tlsweep confirm'").data.folds is not None
    return Confirmation(contender(best), tuple(rivals), claim, right[best].shape[1], folds)


def _right(tables: SweepTables) -> dict[str, npt.NDArray[np.float64]]:
    """For each arm that has met the test split, which of its images were got right: shape (seeds, images), 1 or 0; with
    folds, the share of their networks."""
    trials = {arm: details.get("trial") for arm, details in evaluated(tables).items()}
    found: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in tables.predictions:
        if row["trial"] == trials.get(row["arm"]):
            found[row["arm"]][row.get("repeat") or 0, row["image"]].append(row["label"] == row["predicted"])
    return {arm: _square(cells) for arm, cells in found.items()}


def _square(cells: dict[tuple[int, int], list[float]]) -> npt.NDArray[np.float64]:
    seeds, images = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
    return np.array([[fmean(cells.get((seed, image), [0.0])) for image in images] for seed in seeds])
