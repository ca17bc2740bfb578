"""The winner of each arm meets the test split, once; the main arm's is exported."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tlsweep.cluster.nodes import Cluster
from tlsweep.errors import ResultsError
from tlsweep.observer import Observer
from tlsweep.spec import MAIN_ARM, SweepSpec
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.search.study import SOUP_ARM
from tlsweep.store import SweepFolder, SweepState, TrialState
from tlsweep.store.files import folder_to_fill
from tlsweep.store.schema import ERRORS, HYPERPARAMETERS, METRICS
from tlsweep.store.starts import SOUP, START, Start, best_start
from tlsweep.store.tables import rows_to_table, write_table
from tlsweep.sweep.assignment import trial_seed
from tlsweep.sweep.heads import kept_features
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.on_workers import where_trials_run
from tlsweep.sweep.retention import KEPT_TRIALS
from tlsweep.sweep.trainable import Shared, last_sound
from tlsweep.sweep.winner.soup import Entry, Soup, make_soup

if TYPE_CHECKING:
    from tlsweep.training import Evaluation
    from tlsweep.training.transfer import Transfer


@dataclass(frozen=True)
class Winner:
    """What is needed to evaluate a trial's best checkpoint, or what trials begin with."""

    arm: str
    trial: str
    number: int
    checkpoint: tuple[str, str, int] | None
    """Path below the sweep's folder, digest, epoch; None before any training."""
    hyperparameters: dict[str, Any]
    validation: dict[str, float]

    @classmethod
    def of(cls, trial: TrialState) -> "Winner":
        """The best report of a trial that has one."""
        best = trial.best
        assert best is not None
        return cls(
            arm=trial.arm,
            trial=trial.trial,
            number=trial.number,
            checkpoint=(best["checkpoint"], best["digest"], best["epoch"]),
            hyperparameters={name: best[name] for name in HYPERPARAMETERS if name in best},
            validation={name: best[name] for name in (*METRICS, *ERRORS) if best.get(name) is not None},
        )

    @classmethod
    def untrained(cls, arm: str, start: Start) -> "Winner":
        """What the trials of an arm begin with."""
        return cls(arm, START, 0, None, {WEIGHTS: start.weights}, dict(start.figures))


@dataclass(frozen=True)
class _Finalist:
    """A network that meets the test split."""

    winner: Winner
    checkpoint: bytes | None
    transfer: "Transfer"
    passed_over: list[dict[str, str]] = field(default_factory=list)
    """The damaged checkpoints of better trials."""
    soup: dict[str, Any] | None = None
    """What came of averaging, where it is an average."""

    def metrics(self, test: dict[str, Any]) -> dict[str, Any]:
        """What is kept beside the exported network, with its figures on the test split."""
        winner = self.winner
        made_of = {"hyperparameters": winner.hyperparameters} if self.soup is None else {"soup": self.soup}
        return {"trial": winner.trial, **made_of, "validation": winner.validation, "test": test}


@dataclass(frozen=True)
class Tested:
    """What a winner did on the test split."""

    trial: str
    figures: dict[str, Any]
    predictions: dict[str, list[Any]]
    """The columns of predictions.parquet from `fold` on, with a value for each test image."""
    hard_images: list[dict[str, Any]] = field(default_factory=list)
    """Of the main arm's: rows of hard_images.parquet from `fold` on, the hardest image first."""
    souped: dict[str, Any] | None = None
    """Of the main arm's: what came of averaging, where that was asked for."""


HARD_IMAGES = 100
"""Of how many images of training and validation is kept what the main arm's winner makes of them."""


def evaluate(ledger: Ledger, shared: Shared, cluster: Cluster, observer: Observer) -> None:
    """Show each arm's winner the test split, write down what it reached, export the main arm's to `best/`.

    Raises:
        ResultsError: no checkpoint of the main arm is sound.
    """
    candidates = _candidates(ledger.state, ledger.spec)
    if not candidates:
        return
    observer.phase("evaluating the winner on the test split")
    tests = where_trials_run(_evaluate_arms, ledger.spec, cluster, candidates, shared)
    folder = SweepFolder(shared.folder)
    rows = [row for arm, test in tests.items() for row in _prediction_rows(folder.name, arm, test)]
    write_table(folder.path, "predictions", rows_to_table("predictions", rows))
    main = tests[MAIN_ARM]
    hard = [{"sweep": folder.name, "trial": main.trial, **row} for row in main.hard_images]
    write_table(folder.path, "hard_images", rows_to_table("hard_images", hard))
    if main.souped is not None:
        ledger.event("souped", details=main.souped, arm=SOUP_ARM)
    for arm, test in tests.items():
        trial = None if test.trial in (START, SOUP) else test.trial
        ledger.event("evaluated", trial, {"trial": test.trial, **test.figures}, arm=arm)
    # All at once: a sweep whose main arm has met the test split counts as complete.
    ledger.commit()
    ledger.write_tables()


def _prediction_rows(sweep: str, arm: str, tested: Tested) -> Iterator[dict[str, Any]]:
    for row in _rows(tested.predictions):
        yield {"sweep": sweep, "arm": arm, "trial": tested.trial, **row}


def _candidates(state: SweepState, spec: SweepSpec) -> dict[str, list[Winner]]:
    """Find each arm's winner, and the next best in case its checkpoint is damaged; empty if no trial of the main arm
    has a score. Where no epoch of training is better than the start, that is the winner, and where only damaged ones
    are, it comes next. Of the arm `soup` these are the trials that may be averaged."""
    environment = (state.launched or {}).get("environment")
    found: dict[str, list[Winner]] = {}
    for arm in spec.arms:
        # No more than those whose best checkpoints were kept.
        leaders = state.leaders(arm, KEPT_TRIALS)
        start = best_start(environment, arm, spec.search)
        better, beaten = leaders, spec.arm(arm).trials == 0
        if start is not None:
            better = [trial for trial in leaders if trial.best and not start.is_as_good_as(trial.best, spec.search)]
            beaten = beaten or len(better) < len(leaders)
        if winners := [Winner.of(leader) for leader in better]:
            found[arm] = winners
        if start is not None and beaten:
            found[arm] = [*winners, Winner.untrained(arm, start)]
    if spec.soup_trials:
        found[SOUP_ARM] = [Winner.of(leader) for leader in state.leaders(MAIN_ARM, spec.soup_trials)]
    return found if MAIN_ARM in found else {}


def _evaluate_arms(candidates: dict[str, list[Winner]], shared: Shared) -> dict[str, Tested]:
    """Evaluate a trial of each arm, and export the main arm's to `best/`, or the average that is better.

    Raises:
        ResultsError: no checkpoint of the main arm is sound.
    """
    averaged = candidates.get(SOUP_ARM)
    found: dict[str, _Finalist] = {}
    for arm in (arm for arm in candidates if arm != SOUP_ARM):
        finalist, passed_over = _first_sound(candidates[arm], shared)
        if finalist is not None:
            found[arm] = finalist
        elif arm == MAIN_ARM:
            what = "; ".join(f"{checkpoint['path']} {checkpoint['reason']}" for checkpoint in passed_over)
            raise ResultsError(f"no model can be handed back: {what}; put a sound copy back, and resume the sweep")
    soup = None if averaged is None else _soup(found[MAIN_ARM], averaged, shared)
    if soup is not None and soup.network is not None:
        winner = Winner(SOUP_ARM, SOUP, 0, None, {}, soup.details["validation"])
        network = soup.network
        found[SOUP_ARM] = _Finalist(winner, network.checkpoint, network.transfer, soup=soup.details)
    exported = SOUP_ARM if soup is not None and soup.handed_over else MAIN_ARM
    tests = {arm: _evaluate(finalist, shared, export=arm == exported) for arm, finalist in found.items()}
    if soup is not None:
        tests[MAIN_ARM] = replace(tests[MAIN_ARM], souped=soup.details)
    return tests


def _first_sound(winners: list[Winner], shared: Shared) -> tuple[_Finalist | None, list[dict[str, str]]]:
    """The first winner whose checkpoint is sound, or that has none; and which checkpoints are damaged."""
    passed_over: list[dict[str, str]] = []
    for winner in winners:
        trail = [winner.checkpoint] if winner.checkpoint else []
        content, damaged = last_sound(SweepFolder(shared.folder), trail)
        passed_over += damaged
        if content is not None or not trail:
            transfer = shared.transfer(winner.arm, winner.hyperparameters, trial_seed(shared.spec, winner.number))
            return _Finalist(winner, content, transfer, passed_over), passed_over
    return None, passed_over


def _soup(winner: _Finalist, averaged: list[Winner], shared: Shared) -> Soup:
    """The average of some trials, set against the winner; those whose checkpoints are damaged are left out."""
    found, passed_over = [], list[dict[str, str]]()
    for trial in averaged:
        finalist, damaged = _first_sound([trial], shared)
        passed_over += damaged
        if finalist is not None:
            found.append(_entry(finalist))
    soup = make_soup(_entry(winner), found, shared)
    return replace(soup, details={**soup.details, "passed_over": passed_over}) if passed_over else soup


def _entry(finalist: _Finalist) -> Entry:
    from tlsweep.training import pack, unpack
    from tlsweep.training.souping import Ingredient, without_optimizer

    winner, content = finalist.winner, finalist.checkpoint
    _, digest, epoch = winner.checkpoint or (None, None, 0)
    if content is not None:
        content = pack([without_optimizer(part) for part in unpack(content, len(finalist.transfer.runs()))])
    network = Ingredient(content, finalist.transfer)
    return Entry(winner.trial, epoch, digest, winner.hyperparameters, network)


def _evaluate(finalist: _Finalist, shared: Shared, *, export: bool) -> Tested:
    from tlsweep.training import evaluate_runs, export_model, summarise_test, unpack

    checkpoint, transfer = finalist.checkpoint, finalist.transfer
    settings, task = shared.spec.train.settings(), transfer.task
    tests = evaluate_runs(checkpoint, transfer, split="test", settings=settings, compute=shared.compute({}))
    figures = summarise_test(tests, task)
    if export:
        metrics = finalist.metrics(figures)
        with folder_to_fill(SweepFolder(shared.folder).best) as best:
            # Of several networks always the first, so that the test has no say in which.
            first = None if checkpoint is None else unpack(checkpoint, len(tests))[0]
            export_model(best, first, transfer, metrics=metrics)
    if finalist.passed_over:
        figures = figures | {"passed_over": finalist.passed_over}
    tested = Tested(finalist.winner.trial, figures, _predictions(tests, transfer, "test"))
    if finalist.winner.arm != MAIN_ARM:
        return tested
    features = kept_features(shared.spec, transfer)
    found: list[dict[str, Any]] = []
    # Of several networks each judges only what it was not trained on, and together they judge every image.
    for split in ("val",) if task.runs else ("train", "val"):
        judged = evaluate_runs(
            checkpoint, transfer, split=split, settings=settings, compute=shared.compute({}), features=features
        )
        hardest = _predictions(judged, transfer, split, hardest=HARD_IMAGES)
        found += ({"split": split, **row} for row in _rows(hardest))
    found.sort(key=itemgetter("label_probability"))
    return replace(tested, hard_images=found[:HARD_IMAGES])


def _predictions(
    evaluations: "Sequence[Evaluation]", transfer: "Transfer", split: str, hardest: int | None = None
) -> dict[str, list[Any]]:
    """The columns of predictions.parquet from `fold` on, all runs one after another; of each run all images of the
    split, or so many whose label is found least probable."""
    task = transfer.task
    runs = [(run.fold, run.repeat) for run in task.runs] or [(0, 0)]
    columns: dict[str, list[Any]] = defaultdict(list)
    for (fold, repeat), run, found in zip(runs, transfer.runs(), evaluations, strict=True):
        chosen: Any = slice(None)
        if hardest is not None:
            chosen = found.label_probabilities.argsort(kind="stable")[:hardest]
        images = run.task.splits[split][chosen].tolist()
        columns["fold"] += [fold] * len(images)
        columns["repeat"] += [repeat] * len(images)
        columns["image"] += images
        columns["label"] += [task.classes[label] for label in found.labels[chosen]]
        columns["predicted"] += [task.classes[label] for label in found.predictions[chosen]]
        columns["probability"] += found.probabilities[chosen].tolist()
        columns["label_probability"] += found.label_probabilities[chosen].tolist()
    return columns


def _rows(columns: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
