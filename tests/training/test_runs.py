"""Several networks of one trial, side by side: each is what it would be alone."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from training_networks import __name__ as networks
from training_trials import ONE_THREAD, SMALL_CNN, Train

from tlsweep.data import Task, load_task
from tlsweep.data.views import run_tasks
from tlsweep.errors import ModelError, ResultsError
from tlsweep.spec import DigitsData, Hyperparameters, ModelSpec, derive_seed
from tlsweep.training.metrics import FIGURES
from tlsweep.training.reports import EpochReport, RunReport
from tlsweep.training.runs import evaluate_runs, pack, unpack
from tlsweep.training.summary import standard_error, summarise, summarise_test
from tlsweep.training.transfer import Transfer


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Three folds, each cut twice, of which 10 labels of each class are kept."""
    data = DigitsData(source="digits", folds=3, repeats=2, labels_per_class=10)
    return load_task(data, 0, cache=tmp_path_factory.mktemp("folded"))


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Task:
    data = DigitsData(source="digits", repeats=2, labels_per_class=5)
    return load_task(data, 0, cache=tmp_path_factory.mktemp("repeated"))


def figures(row: EpochReport | RunReport) -> dict[str, str]:
    """What does not depend on the clock, comparable bit for bit."""
    return {name: repr(value) for name, value in asdict(row).items() if "second" not in name and name != "folds"}


def test_each_fold_is_what_a_trial_on_that_split_alone_is(folded: Task, train: Train) -> None:
    together = train(task=folded)
    for at, view in enumerate(run_tasks(folded)):
        run = folded.runs[at]
        seed = 1 if at == 0 else derive_seed(1, "run", run.repeat, run.fold)
        alone = train(task=view, seed=seed)
        for row, own, checkpoint, own_checkpoint in zip(
            together.rows, alone.rows, together.checkpoints, alone.checkpoints, strict=True
        ):
            of_run = row.folds[at]
            assert (of_run.fold, of_run.repeat) == (at % 3, at // 3)
            assert (of_run.train_images, of_run.val_images) == (view.size("train"), view.size("val"))
            for name in ("samples", "step", "train_loss", "train_accuracy", *(f"val_{name}" for name in FIGURES)):
                assert getattr(of_run, name) == getattr(own, name), name
            assert of_run.scheduled_lr == own.scheduled_lr
            assert unpack(checkpoint, 6)[at] == own_checkpoint


def test_a_report_holds_means_sums_and_standard_errors(folded: Task, train: Train) -> None:
    for row in train(task=folded).rows:
        assert row.runs == len(row.folds) == 6
        for name in ("train_loss", "train_accuracy", *(f"val_{name}" for name in FIGURES)):
            values = [getattr(one, name) for one in row.folds]
            assert getattr(row, name) == pytest.approx(mean(values), rel=1e-12)
            if name.startswith("val_"):
                assert getattr(row, f"{name}_se") == pytest.approx(stdev(values) / math.sqrt(6), rel=1e-9)
        for name in ("samples", "step", "train_seconds", "eval_seconds"):
            assert getattr(row, name) == pytest.approx(sum(getattr(one, name) for one in row.folds))
        assert row.samples == row.epoch * sum(len(run.train) for run in folded.runs)


def test_batches_that_grow_differently_do_not_look_like_too_little_memory(train: Train, tmp_path: Path) -> None:
    """Each run follows its own validation loss."""
    task = load_task(DigitsData(source="digits", folds=3, labels_per_class=20), 0, cache=tmp_path)
    values = Hyperparameters(
        lr=0.05, batch_size=16, lr_schedule="plateau", lr_gamma=0.5, lr_patience=0, lr_threshold=0.03,
        decay_by="batch_size",
    )  # fmt: skip
    rows = train(values, task=task, epochs=8).rows
    assert any(len({run.scheduled_batch_size for run in row.folds}) > 1 for row in rows)
    for row in rows:
        assert row.micro_batch == row.scheduled_batch_size == max(run.scheduled_batch_size for run in row.folds)
        assert all(run.micro_batch == run.scheduled_batch_size for run in row.folds)
    divided = train(values, task=task, epochs=1, micro_batch=5).rows[0]
    assert (divided.scheduled_batch_size, divided.micro_batch) == (16, 5)


def test_going_on_is_as_if_never_stopped(folded: Task, train: Train) -> None:
    whole = train(task=folded)
    rest = train(task=folded, resume=whole.checkpoints[0])
    assert [*map(figures, rest.rows)] == [*map(figures, whole.rows[1:])]
    for row, expected in zip(rest.rows, whole.rows[1:], strict=True):
        assert [*map(figures, row.folds)] == [*map(figures, expected.folds)]
    assert rest.checkpoints == whole.checkpoints[1:]


def test_repeats_differ_in_seed_and_few_labels_not_in_validation(repeated: Task, train: Train) -> None:
    first, second = repeated.runs
    assert np.array_equal(first.val, second.val)
    assert not np.array_equal(first.train, second.train)
    row = train(task=repeated, epochs=1).rows[0]
    assert row.folds[0].val_loss != row.folds[1].val_loss
    plain = train(task=replace(repeated, runs=()), epochs=1).rows[0]
    assert (plain.runs, plain.val_loss_se, plain.folds) == (1, None, ())
    assert row.folds[0].val_loss == plain.val_loss


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_a_run_that_diverges_makes_the_trial_diverge(repeated: Task, train: Train, bad: float) -> None:
    good = train(task=replace(repeated, runs=()), epochs=1).rows[0]
    lost = replace(good, train_loss=bad, **{f"val_{name}": math.nan for name in FIGURES})
    row = summarise([good, lost], repeated, 0.0)
    assert repr(row.train_loss) == repr((good.train_loss + bad) / 2)
    assert math.isnan(row.val_accuracy)
    assert row.val_accuracy_se is not None
    assert math.isnan(row.val_accuracy_se)
    assert [repr(one.train_loss) for one in row.folds] == [repr(good.train_loss), repr(bad)]


def test_a_huge_loss_of_one_run_is_no_overflow() -> None:
    assert standard_error([1e200, 0.0]) == math.inf
    assert math.isnan(standard_error([math.inf, 0.0]))
    assert all(math.isnan(standard_error(values)) for values in ([1.0, math.nan, 1.0], [math.inf, math.inf]))
    assert standard_error([0.8784313725490196] * 5) == 0.0  # whose sum, divided by five, is another float


def test_what_one_run_found_not_to_fit_the_others_know(repeated: Task, train: Train) -> None:
    model = ModelSpec(name=f"{networks}:limited", args={"backward": 5})
    rows = train(Hyperparameters(batch_size=16), task=repeated, model=model).rows
    assert {row.micro_batch for row in rows} == {4}


def test_the_test_is_summed_up_over_runs(folded: Task, train: Train) -> None:
    (checkpoint,) = train(task=folded, epochs=1).checkpoints
    transfer = Transfer(folded, SMALL_CNN, weights=None, seed=1)
    evaluations = evaluate_runs(checkpoint, transfer, split="test", compute=ONE_THREAD)
    found = summarise_test(evaluations, folded)
    accuracies = [float((one.labels == one.predictions).mean()) for one in evaluations]
    assert found["accuracy"] == pytest.approx(mean(accuracies))
    assert found["accuracy_se"] == pytest.approx(stdev(accuracies) / math.sqrt(6))
    assert [one["accuracy"] for one in found["folds"]] == accuracies
    assert [(one["fold"], one["repeat"]) for one in found["folds"]] == [(at % 3, at // 3) for at in range(6)]
    assert np.array(found["confusion"]).sum() == 6 * folded.size("test")
    assert found["per_class"]["recall"] == pytest.approx(
        np.diag(found["confusion"]) / np.array(found["per_class"]["support"]) / 6
    )
    assert summarise_test(evaluations[:1], replace(folded, runs=())) == evaluations[0].to_dict()


def test_checkpoints_of_runs_are_told_from_others() -> None:
    parts = [b"one", b"three", b""]
    assert unpack(pack(parts), 3) == parts
    assert unpack(pack(parts[:1]), 1) == parts[:1]
    assert pack(parts) == pack(parts)
    with pytest.raises(ModelError, match=r"holds 3 networks, but data\.folds and data\.repeats make 2"):
        unpack(pack(parts), 2)
    with pytest.raises(ResultsError, match="cannot be read"):
        unpack(pack(parts)[:-1], 3)
