"""Bounds that are measured: the rules, the copy of the spec, what a user reads; and the arm without a search."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from referee_harness import Stage
from rich.console import Console

from tlsweep.data import load_task
from tlsweep.errors import SpecError
from tlsweep.observer import Silence
from tlsweep.planning.lr_range import RangeTest
from tlsweep.planning.suggested_spec import suggested_path, write_suggestion
from tlsweep.planning.suggestion import (
    Suggestion,
    batch_sizes,
    centre,
    images_needed,
    lr_bounds,
    lr_per_batch_size,
    suggest,
)
from tlsweep.spec import load_spec
from tlsweep.spec.search.hyperrule import hyperrule
from tlsweep.sweep.prepare import prepare
from tlsweep.terminal.suggestion import print_suggestion, sparkline

QUICK = ["model.name=mlp", "model.weights=none", "model.args={hidden: [64]}", "controls=[]"]


@pytest.mark.parametrize(
    ("noise_scales", "images", "sizes"),
    [
        ([100, 400], 5000, (8, 512)),
        ([1000, 1000], 5000, (64, 1024)),
        ([1000, math.nan], 5000, (64, 4096)),
        ([math.nan, math.nan], 100, (8, 64)),
        ([math.nan, math.nan], 5000, (8, 4096)),
        ([3, 5], 5000, (8, 16)),
        ([1000, 1000], 30, (8, 16)),
        ([50, 50], 9, (4, 8)),
        ([1e9, 1e9], 60_000, (16384, 32768)),
    ],
)
def test_batch_sizes_follow_the_noise_scale(noise_scales: list[float], images: int, sizes: tuple[int, int]) -> None:
    assert batch_sizes(noise_scales, images) == sizes


def test_the_centre_is_the_middle_of_each_distribution() -> None:
    searched = {"lr": "{loguniform: [1e-4, 1e-2]}", "weight_decay": "{choice: [0, 1e-4, 1e-3]}"}
    searched |= {"freeze": "{choice: [nothing, backbone]}", "batch_size": "{powers_of_two: [8, 32]}"}
    spec = load_spec("digits", [f"train.{name}={space}" for name, space in searched.items()])
    values = centre(spec, optimizer="sgd")
    assert (values.lr, values.batch_size, values.weight_decay, values.freeze) == (
        pytest.approx(1e-3), 16, 1e-4, "nothing"
    )  # fmt: skip
    assert values.optimizer == "sgd"


def test_a_suggestion_is_a_spec_that_can_be_launched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = load_spec("digits", QUICK)
    suggestion = suggest(spec)
    path = tmp_path / "mine.yaml"
    assert suggested_path("digits", path) == path
    write_suggestion(suggestion, "digits", QUICK, path)
    written = load_spec(path)
    assert suggestion.lr is not None
    assert written.train.space()["lr"].extremes == suggestion.lr
    sizes = written.train.space()["batch_size"].extremes
    assert (sizes[0], sizes[-1]) == suggestion.batch_sizes
    assert [(one.optimizer, one.batch_size) for one in suggestion.range_tests] == [
        ("adam", size) for size in suggestion.batch_sizes
    ]
    print_suggestion(Console(width=110), suggestion, path)
    shown = capsys.readouterr().out
    assert "adam, batches of 8" in shown
    assert f"{suggestion.batch_sizes[0]} to {suggestion.batch_sizes[1]}" in shown


def test_what_is_measured_begins_where_trials_begin() -> None:
    source = "model.weights={data: {source: digits, domain: source}, epochs: 3}"
    quick = ["model={name: mlp, args: {hidden: [32]}}", source, "controls=[]", "train.batch_size=16"]
    solved, blind = (suggest(load_spec("digits", [*quick, f"train.head={head}"])) for head in ("probe", "random"))
    assert solved.range_tests[0].smoothed[0] < 1.5 < math.log(10) < blind.range_tests[0].smoothed[0]
    assert solved.lr is not None
    assert solved.lr[0] <= solved.lr[1] / 100


def test_no_batch_is_proposed_that_an_arm_has_no_images_for(tmp_path: Path) -> None:
    few = [*QUICK, "study={few_labels: [3, 10]}", "train.batch_size={powers_of_two: [4, 16]}"]
    suggestion = suggest(load_spec("digits", few))
    path = tmp_path / "mine.yaml"
    write_suggestion(suggestion, "digits", few, path)
    written = load_spec(path)
    prepare(written, load_task(written.data, written.seed), Silence())  # would refuse it
    assert suggestion.batch_sizes == (8, 16)


def test_an_optimizer_that_finds_its_rate_keeps_it() -> None:
    suggestion = suggest(load_spec("digits", [*QUICK, "train.optimizer=prodigy", "train.lr=1"]))
    assert suggestion.lr is None
    assert list(suggestion.changes) == ["batch_size"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    spec = tmp_path / "my.yaml"
    spec.write_text("")
    assert suggested_path(str(spec), None) == tmp_path / "my-suggested.yaml"
    with pytest.raises(SpecError, match="my.yaml' exists already; remove it, or name another file"):
        suggested_path("digits", spec)


def test_a_sparkline_cuts_off_what_is_above_its_beginning() -> None:
    assert sparkline([2, 2, 1, 0, 9], 5) == "██▄▁█"


def test_the_hyperrule_is_one_trial_beside_the_sweep(tmp_path: Path) -> None:
    overrides = ["controls=[hyperrule]", "train_images=100"]
    stage = Stage(tmp_path / "sweep", *overrides)
    stage.start()
    arm = {name: one for name, one in stage.state.trials.items() if one.arm == "hyperrule"}
    assert list(arm) == ["t0000-hyperrule"]
    values = hyperrule(100, stage.ledger.spec.train.epochs).model_dump()
    assert {name: arm["t0000-hyperrule"].hyperparameters[name] for name in values} == values
    for epoch in range(stage.ledger.spec.train.epochs):
        assert stage.train("t0000-hyperrule", 0.1) == (epoch + 1 < stage.ledger.spec.train.epochs)
    assert stage.state.trials["t0000-hyperrule"].status.value == "finished"


def test_an_lr_per_batch_size_gets_the_bounds_at_its_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured with two batch sizes: at the reference they lie closer together."""
    override = "train.lr={per: batch_size, power: 0.5, at: 16, loguniform: [1e-4, 1e-2]}"
    per = load_spec("digits", [override]).train.scaling.per
    tests = tuple(
        RangeTest("adam", size, (1e-6,), (1.0,), (1.0,), lower, upper)
        for size, lower, upper in ((4, 1e-4, 1e-2), (64, 8e-4, 4e-2))
    )
    assert lr_bounds(tests, None) == (1e-4, 4e-2)
    bounds = lr_bounds(tests, per)
    assert bounds == pytest.approx((2e-4, 2e-2))
    suggestion = Suggestion((10.0, 20.0), 16, 100, (4, 64), tests, bounds, per)
    write_suggestion(suggestion, "digits", [override], tmp_path / "mine.yaml")
    written = load_spec(tmp_path / "mine.yaml")
    assert written.train.scaling.per is not None
    assert (written.train.scaling.per.power, written.train.scaling.per.at) == (0.5, 16)
    assert written.train.space()["lr"].extremes == bounds
    print_suggestion(Console(width=110), suggestion, tmp_path / "mine.yaml")
    assert "at batches of 16, times (batch size / 16) ** 0.5" in capsys.readouterr().out


def test_it_is_told_where_small_and_large_batches_want_other_rates(capsys: pytest.CaptureFixture[str]) -> None:
    """The bounds of ants and bees with SqueezeNet: small batches would be sampled up to 7 times beyond their own."""
    tests = (_tested(8, 9e-5), _tested(128, 6e-4))
    suggestion = Suggestion((10.0, 20.0), 32, 195, (8, 128), tests, lr_bounds(tests, None))
    per = lr_per_batch_size(suggestion)
    assert per is not None
    assert (per.power, per.at, per.extremes) == (0.5, 32, (3.5e-06, 3e-4))
    print_suggestion(Console(width=80), suggestion, Path("mine.yaml"))
    shown = capsys.readouterr().out
    written = "lr: {per: batch_size, power: 0.5, loguniform: [3.5e-06, 0.0003]}"
    assert written in shown
    spec = load_spec("digits", [f"train.{written.replace(': ', '=', 1)}"])
    assert spec.train.scaling.per == per
    assert max(map(len, shown.splitlines())) <= 80
    assert all(sparkline(test.smoothed) in shown for test in tests)


@pytest.mark.parametrize(("upper", "power"), [(2e-4, None), (2.7e-4, None), (3e-4, 0.5), (1e-3, 1.0)])
def test_an_lr_per_batch_size_is_proposed_where_one_range_does_not_suit(upper: float, power: float | None) -> None:
    tests = (_tested(8, 9e-5), _tested(64, upper))
    suggestion = Suggestion((10.0, 20.0), 32, 195, (8, 64), tests, lr_bounds(tests, None))
    per = lr_per_batch_size(suggestion)
    assert (per and per.power) == power
    searched = load_spec("digits", ["train.lr={per: batch_size, power: 0.5, loguniform: [1e-4, 1e-2]}"])
    assert lr_per_batch_size(replace(suggestion, per=searched.train.scaling.per)) is None


def _tested(batch_size: int, upper: float) -> RangeTest:
    return RangeTest("adamw", batch_size, (1e-6, 1e-3), (8.0, 1.0), (8.0, 1.0), 7e-6, upper)


@pytest.mark.parametrize(
    "overrides", [[], ["train.optimizer={choice: [sgd, adamw]}"], ["train.optimizer=prodigy", "train.lr=1"]]
)
def test_the_steps_are_told_with_their_number_and_what_they_take(overrides: list[str]) -> None:
    told: list[str] = []

    class Listener(Silence):
        def phase(self, text: str) -> None:
            told.append(text)

    spec = load_spec("digits", [*QUICK, *overrides])
    suggestion = suggest(spec, observer=Listener(), seconds_per_image=1.0)
    steps = [text for text in told if text[0].isdigit()]
    assert [text.partition(":")[0] for text in steps] == [f"{at} of {len(steps)}" for at in range(1, len(steps) + 1)]
    assert len(steps) == 1 + len(suggestion.range_tests) + bool(suggestion.range_tests)
    seconds = sum(int(text.rpartition(", about ")[2].removesuffix(" s")) for text in steps)
    least, most = images_needed(spec, suggestion.train_images)
    assert least <= seconds <= most
    assert not [text for text in told if "about" in text and text not in steps]
