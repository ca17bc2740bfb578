"""What is printed once: outcome, best, report, plan, presets."""

import io
from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder, make_spec, make_sweep
from rich.console import Console

from tlsweep.planning import Plan
from tlsweep.report import load_tables, write_recipe
from tlsweep.terminal import print_best, print_outcome, print_plan, print_report
from tlsweep.terminal.outcome import print_leaders
from tlsweep.terminal.plan import _classes, _set_aside, _skipped
from tlsweep.terminal.presets import opening_comment, print_presets


def printed(function: Any, *args: Any, width: int = 80, **options: Any) -> list[str]:
    stream = io.StringIO()
    function(Console(file=stream, width=width), *args, **options)
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line != line.rstrip()] == []  # spaces at the end are noise in a file
    assert options.get("short") or all(len(line) <= width for line in lines)
    return lines


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_outcome(here: Path) -> None:
    results = make_sweep(here / "results")
    write_recipe(results.path)
    lines = printed(print_outcome, results)
    assert lines[0].startswith("demo: 8 trials (5 stopped, 2 finished, 1 failed), 15 epochs in 2")
    assert "t0001            0.01     64              0.950      4 of 4  finished" in lines
    assert "t0002          0.0125     32              0.820      3 of 3  stopped" in lines
    assert "and 2 more" in lines
    assert "a window of 84 columns shows best val loss too" in lines
    assert "main               t0001                 0.950          0.930" in lines
    assert "scratch            t0001-scratch         0.750          0.710" in lines
    assert "gain over scratch                       +0.200         +0.220" in lines
    assert lines[-6:] == [
        "recipe       results/demo/recipe.yaml",
        "tables       results/demo/*.parquet; 'tlsweep columns' explains them",
        "checkpoints  results/demo/checkpoints, 0 files, 0 B",
        "next         tlsweep best demo         the winner, and how it was trained",
        "             tlsweep report demo       what works here, and what does not",
        "             tlsweep trial demo t0000  why it was stopped (trials.reason)",
    ]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(84, None), (72, "best val loss"), (60, "best val loss, best epoch"), (50, "best val loss, best epoch, state")],
)
def test_what_a_narrow_window_leaves_out_is_named_and_no_cell_is_cut(
    here: Path, width: int, left_out: str | None
) -> None:
    stream = io.StringIO()
    print_leaders(Console(file=stream, width=width), load_tables(make_sweep(here / "results")))
    shown = stream.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    told = f"and 2 more a window of 84 columns shows {left_out} too" if left_out else "and 2 more"
    assert " ".join(shown.split()).endswith(told)


def test_the_short_outcome(here: Path) -> None:
    lines = printed(print_outcome, make_sweep(here / "results"), short=True)
    assert lines[1:] == [
        "best of main: t0001, val accuracy 0.950, test accuracy 0.930; "
        "best of scratch: t0001-scratch, val accuracy 0.750, test accuracy 0.710",
        "results in results/demo",
    ]


def test_after_an_interrupt_the_outcome_says_so_and_how_to_go_on(here: Path) -> None:
    builder = SweepBuilder(here / "results")
    builder.create("t0000", 0)
    builder.report("t0000", 0.5)
    builder.event("interrupted", "t0000", reason="interrupted")
    builder.event("interrupted", reason="interrupted")
    lines = printed(print_outcome, builder.finish())
    assert "The sweep was interrupted; everything up to then is kept." in lines
    assert "main  t0000              0.500              -" in lines
    following = [line.split() for line in lines[-3:]]
    assert following[0] == ["next", *["tlsweep", "resume", "demo", "goes", "on", "where", "it", "stopped"]]
    assert following[2] == ["tlsweep", "report", "demo", "what", "works", "here,", "and", "what", "does", "not"]


@pytest.mark.parametrize("page", [print_outcome, print_report])
def test_without_an_epoch_there_is_still_a_page(here: Path, page: Any) -> None:
    builder = SweepBuilder(here / "results")
    builder.create("t0000", 0)
    lines = printed(page, builder.finish())
    assert lines[0].startswith("demo: 1 trial (1 pending), 0 epochs in")
    assert not any(line.startswith("trial ") for line in lines)


def test_a_sweep_elsewhere_is_named_with_its_folder(here: Path) -> None:
    lines = printed(print_outcome, make_sweep(here / "other place"), width=120)
    assert "tlsweep report demo --results 'other place'       what works here" in lines[-2]
    assert "tlsweep trial demo t0000 --results 'other place'  why it was stopped" in lines[-1]


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (("finished", "stopped", "stopped"), "tlsweep trial demo t0001  why it was stopped (trials.reason)"),
        (("finished", "failed", "finished"), "tlsweep trial demo t0001  why it failed (trials.reason)"),
        (("failed", "stopped", "finished"), "tlsweep trial demo t0001  why it was stopped (trials.reason)"),
        (("finished", "finished", "finished"), None),
    ],
)
@pytest.mark.parametrize("page", [print_outcome, print_report])
def test_the_trial_that_is_named_is_one_that_people_ask_about(
    here: Path, page: Any, ends: tuple[str, ...], told: str | None
) -> None:
    builder = SweepBuilder(here / "results")
    builder.create("t0000-scratch", 0)
    builder.event("stopped", "t0000-scratch", reason="of a control nobody asks")
    for number, end in enumerate(ends):
        builder.create(f"t{number:04d}", number)
        builder.report(f"t{number:04d}", 0.5)
        builder.event(end, f"t{number:04d}", reason="its reason")
    named = [line[line.index("tlsweep") :] for line in printed(page, builder.finish()) if "tlsweep trial" in line]
    assert named == ([told] if told else [])


def test_what_has_no_room_beside_a_command_stands_below_it(here: Path) -> None:
    lines = printed(print_best, make_sweep(here / "an other place"), width=80)
    assert lines[-4:] == [
        "next    tlsweep report demo --results 'an other place'",
        "          what works here, and what does not",
        "        tlsweep trial demo t0001 --results 'an other place'",
        "          its epochs, and each decision about it",
    ]


def test_best_shows_values_schedule_metrics_and_files(here: Path) -> None:
    results = make_sweep(here / "results")
    results.folder.best.mkdir()
    lines = printed(print_best, results)
    assert "best trial   t0001, at epoch 4" in lines
    assert "batch size   32 at the start, 64 at the end" in lines
    assert "optimizer    sgd" in lines
    assert "lr schedule  cosine, over 4 epochs; the model is of epoch 4" in lines
    assert "freeze       nothing" in lines
    assert lines[lines.index("schedule") + 1 :][:4] == [
        "epochs  trained by      lr  batch size",
        "     1  t0000         0.01          32",
        "     2  t0002       0.0125          32",
        "   3-4  t0001         0.01          64",
    ]
    assert "test        loss 0.200, accuracy 0.930, precision 0.900, recall 0.900, f1 0.900" in lines
    assert "model       results/demo/best" in lines
    assert "new images  tlsweep predict demo IMAGES" in lines
    assert "in Python   network, info = tlsweep.training.load_exported('results/demo/best')" in lines
    assert "recipe      not written: the sweep has not ended" in lines


def test_best_tells_of_what_is_fixed_what_is_not_as_by_default(here: Path) -> None:
    train = {"optimizer": "adamw", "label_smoothing": 0.1, "loss": "focal", "epochs": 4}
    builder = SweepBuilder(
        here / "results", make_spec(train=train, search={"strategy": "random", "trials": 1}, controls=[])
    )
    builder.create("t0000", 0, optimizer="adamw", label_smoothing=0.1, weight_decay=0.01)
    builder.report("t0000", 0.5)
    lines = printed(print_best, builder.finish())
    assert lines[: lines.index("")] == [
        "sweep            demo",
        "best trial       t0000, at epoch 1",
        "lr               0.01",
        "batch size       32",
        "optimizer        adamw",
        "lr schedule      cosine, over 4 epochs; the model is of epoch 1",
        "freeze           nothing",
        "weight decay     0.01",
        "label smoothing  0.1",
        "loss             focal",
    ]


def test_the_report_has_every_section(here: Path) -> None:
    lines = printed(print_report, make_sweep(here / "results"), width=100)
    for start in (
        "search    pbt: 4 members × 4 epochs × 2 arms (main, scratch), seed 0",
        "task      cnn, pretrained on digits (source), on digits (target)",
        "images    537 train, 180 val, 180 test; 10 classes; fingerprint ffffffffffff",
        "weights   source task 3f2a; sha256 aaaaaaaaaaaa",
        "hardware  some CPU, 2 CPUs, 0 GPUs",
        "Best trials, by val accuracy",
        "What works here in the arm main: best val accuracy, mean ± standard error (n)",
        "0.01 to 0.0316               0.760 ± 0.060 (2)  0.950 (1)",
        "0.1 to 0.316                                    0.550 (1)  diverged (1)",
        "The arms against each other",
        "How t0001 came about",
        "1 trial failed",
        "t0003-scratch  after 0 epochs: ValueError: [boom]",  # no markup
    ):
        assert start in lines


@pytest.mark.parametrize(
    ("width", "title", "cell"),
    [(80, "mean ± standard error (n)", "0.760 ± 0.060 (2)"), (70, "mean (n)", "0.760 (2)")],
)
def test_a_landscape_without_room_for_errors_has_none(here: Path, width: int, title: str, cell: str) -> None:
    lines = printed(print_report, make_sweep(here / "results"), width=width)
    begin = lines.index(f"What works here in the arm main: best val accuracy, {title}")
    assert cell in lines[begin + 3]
    assert not any("…" in line for line in lines[begin : begin + 5])


def test_the_report_of_a_sweep_that_never_wrote_its_environment(here: Path) -> None:
    results = make_sweep(here / "results")
    results.folder.environment.unlink()
    assert not any(line.startswith("hardware") for line in printed(print_report, results))


def test_the_plan() -> None:
    plan = Plan(
        arms=("main", "scratch"), trials=48, epochs_at_most=1296, train_images=12000, val_images=180, test_images=1,
        classes=tuple("0123456789"), image_shape=(1, 8, 8), model="cnn", weights=None, parameters=72842, device="cpu",
        slots=1, seconds_at_most=91.0, checkpoint_bytes=885_000, storage_bytes=10_600_000, seconds_at_least=46.0,
        nodes_checked=0, augmentation="shifted by up to 1 pixel, never mirrored",
        set_aside=("test",), skipped=("a/b.gif: a GIF", "a/c.jpg: truncated"),
        findings=("3 images of a single colour (a/[b].png)",),
    )  # fmt: skip
    assert printed(print_plan, plan) == [
        "images   12,000 for training, 180 for validation, 1 for the test; the test is",
        "         set aside from the images for training (data.test_fraction)",
        "skipped  a/b.gif: a GIF",
        "skipped  a/c.jpg: truncated",
        "classes  10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "image    8 × 8 pixels, grey",
        "augment  shifted by up to 1 pixel, never mirrored",
        "look at  3 images of a single colour (a/[b].png)",
        "model    cnn, 72,842 parameters",
        "weights  random",
        "trials   48 trials in 2 arms, at most 1,296 epochs together",
        "runs on  cpu, 1 place",
        "time     46s to 1m31s (as other work leaves room) of training if nothing is",
        "         stopped early; starting and reporting come on top",
        "storage  at most 10.1 MB; 864 kB for each checkpoint",
    ]


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        ((), ""),
        (("val",), "; the validation is set aside from the images for training (data.val_fraction)"),
        (
            ("val", "test"),
            "; validation and test are set aside from the images for training (data.val_fraction, data.t",
        ),
    ],
)
def test_it_is_told_which_splits_are_made(splits: tuple[str, ...], told: str) -> None:
    assert _set_aside(splits).startswith(told)
    assert bool(told) == bool(_set_aside(splits))


def test_of_many_skipped_files_some_are_named() -> None:
    files = tuple(f"{name}.jpg: truncated" for name in "abcde")
    assert _skipped(files[:3]) == list(files[:3])
    assert _skipped(files) == [*files[:3], "and 2 more files"]


def test_of_many_classes_two_lines_are_named() -> None:
    told = _classes(tuple(f"class{number}" for number in range(200)), 140)
    assert told.startswith("200: class0, class1, ")
    assert told.endswith(" more")
    assert 125 < len(told) <= 140
    assert _classes(("a" * 200, "b"), 140) == f"2: {'a' * 200} and 1 more"


def test_a_preset_is_listed_with_the_comment_it_opens_with() -> None:
    text = "# Your own images.\n#\n#   tlsweep launch folder\n\n# not this\ndata:\n"
    assert opening_comment(text) == "Your own images.\n\ntlsweep launch folder"
    assert opening_comment("data:\n") == ""
    assert printed(print_presets, {"folder": text})[:3] == [
        "folder  Your own images.",
        "",
        "        tlsweep launch folder",
    ]
