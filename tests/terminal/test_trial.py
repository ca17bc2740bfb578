"""`tlsweep trial`: the life of one trial."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder, make_spec, make_sweep
from in_process import Run
from rich.console import Console

from tlsweep.report import trial_life
from tlsweep.store import Results
from tlsweep.terminal.trial import print_trial


def told(results: Results, trial: str, width: int = 120) -> list[str]:
    stream = io.StringIO()
    print_trial(Console(file=stream, width=width), trial_life(results, trial))
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= width and line == line.rstrip() for line in lines)
    return lines


def decisions(results: Results, trial: str) -> list[str]:
    """Without when they were made."""
    lines = told(results, trial, 400)
    begin = lines.index("What was decided about it, after which epoch") + 1
    end = lines.index("", begin) if "" in lines[begin:] else None
    return [line[15:] for line in lines[begin:end]]


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepBuilder:
    """Of two trials that have reported an epoch."""
    monkeypatch.chdir(tmp_path)
    builder = SweepBuilder(tmp_path / "results", make_spec(controls=[]))
    for number, accuracy in enumerate((0.81, 0.86)):
        builder.create(f"t{number:04d}", number)
        builder.event("started", f"t{number:04d}")
        builder.report(f"t{number:04d}", accuracy)
    return builder


def test_a_member_of_a_population_with_configuration_decisions_epochs_and_origin(run: Run, tmp_path: Path) -> None:
    make_sweep(tmp_path / "results")
    code, out, err = run("trial", "demo", "t0001")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "t0001 of demo: finished after 4 epochs, best val accuracy 0.950 at epoch 4",
        "arm           main, configuration number 1",
        "began with    lr 0.1, batch size 64",
        "ended with    lr 0.01, batch size 64",
        "why it ended  trained to the last epoch",
        "took          6s of training and evaluation",
        "",
        "What was decided about it, after which epoch",
        "    0      1s  sampled as configuration number 1: lr 0.1, batch size 64",
        "    0      5s  a worker takes it",
        "    2     14s  exploited: it took over t0002 with its configuration (epoch 2)",
        "    4     18s  finished: trained to the last epoch",
        "    4     20s  as the best of its arm it met the test split: accuracy 0.930",
        "",
        "Its epochs",
        "epoch  generation    lr  batch  val accuracy  val loss  train loss  seconds",
        "    1           0   0.1     64         0.500     0.500       0.500     1.50",
        "    2           0   0.1     64         0.550     0.450       0.450     1.50",
        "    3           1  0.01     64         0.900     0.100       0.100     1.50",
        "    4           1  0.01     64         0.950     0.050       0.050     1.50",
        "",
        "How its weights were trained",
        "epochs  trained by      lr  batch size",
        "     1  t0000         0.01          32",
        "     2  t0002       0.0125          32",
        "   3-4  t0001         0.01          64",
        "",
        "checkpoints  none is kept",
        "tables       results/demo/*.parquet, where trial = 't0001'; 'tlsweep columns' says what each column means",
    ]


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("trial", ["t0001", "t0003", "t0003-scratch"])
def test_it_fits_any_window(tmp_path: Path, width: int, trial: str) -> None:
    lines = told(make_sweep(tmp_path), trial, width)
    assert lines[0].startswith(f"{trial} of demo: ")


def test_why_asha_stopped_it_stands_beside_what_was_needed(builder: SweepBuilder) -> None:
    numbers = {"rung": 3, "score": 0.81, "threshold": 0.86, "compared": 8, "rank": 5}
    reason = "number 5 of 8 at the rung of epoch 3, where the best 3 of 9 go on"
    builder.event("stopped", "t0000", reason=reason, **numbers, places=3, expected=9)
    builder.event("promoted", "t0001", **numbers | {"score": 0.9, "rank": 1}, idle=False)
    builder.event("stopped", "t0001", reason="its function returned early")
    results = builder.finish()
    assert decisions(results, "t0000")[-1] == f"stopped: {reason} (val accuracy 0.810, number 3 has 0.860)"
    assert f"why it ended  {reason}" in told(results, "t0000")
    assert decisions(results, "t0001")[-2:] == [
        "goes on: val accuracy 0.900 at the rung of epoch 3, number 1 of 8, 0.860 was needed",
        "stopped: its function returned early",
    ]


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"score": 0.365, "threshold": 0.365, "places": 3},
         "val accuracy 0.365, as number 3: of equals the one that was there first is before"),
        ({"score": 0.3649, "threshold": 0.3651, "places": 3}, "val accuracy 0.365, number 3 is a little better"),
        ({"score": 0.3649, "threshold": 0.3651}, "val accuracy 0.365, a little more was needed"),
        ({"score": 0.3, "threshold": 0.4}, "val accuracy 0.300, 0.400 was needed"),
    ],
)  # fmt: skip
def test_a_tie_says_what_it_means(builder: SweepBuilder, numbers: dict[str, Any], told: str) -> None:
    builder.event("stopped", "t0000", reason="number 4 of 6", **numbers)
    assert decisions(builder.finish(), "t0000")[-1] == f"stopped: number 4 of 6 ({told})"


@pytest.mark.parametrize("places", [0, 2])
def test_where_nobody_stands_at_the_last_place_the_reason_is_enough(builder: SweepBuilder, places: int) -> None:
    builder.event("stopped", "t0000", reason="number 1 of 1", score=0.3, threshold=None, places=places)
    assert decisions(builder.finish(), "t0000")[-1] == "stopped: number 1 of 1"


def test_what_the_schedule_made_of_lr_and_batch_is_shown_where_it_differs(builder: SweepBuilder) -> None:
    report = builder.report("t0000", 0.9)
    report |= {"scheduled_lr": 0.005, "scheduled_batch_size": 32}
    lines = told(builder.finish(), "t0000")
    assert lines[lines.index("Its epochs") + 1 :][:3] == [
        "epoch  scheduled lr  batch  val accuracy  val loss  train loss  seconds",
        "    1        0.0100     32         0.810     0.190       0.190     1.50",
        "    2       0.00500     32         0.900     0.100       0.100     1.50",
    ]


def test_a_score_of_a_loss_is_shown_as_the_loss(tmp_path: Path) -> None:
    spec = make_spec(search={"strategy": "asha", "trials": 2, "metric": "val_loss"}, controls=[])
    builder = SweepBuilder(tmp_path, spec)
    builder.create("t0000", 0)
    builder.report("t0000", 0.5, loss=0.9)
    builder.event("stopped", "t0000", reason="too high", score=-0.9, threshold=-0.4)
    assert decisions(builder.finish(), "t0000")[-1] == "stopped: too high (val loss 0.900, 0.400 was needed)"


def test_an_exploit_says_from_whom_and_what_was_perturbed(builder: SweepBuilder) -> None:
    event = builder.exploit("t0000", "t0001", 1, lr=0.012)
    event["details"] |= {"score": 0.81, "donor_score": 0.86}
    builder.event("perturbed", "t0000", lr={"from": 0.01, "to": 0.012}, batch_size={"from": 32, "to": 64})
    builder.event("perturbed", "t0000")
    results = builder.finish()
    assert decisions(results, "t0000")[-3:] == [
        "exploited: it took over t0001 with its configuration (epoch 1, val accuracy 0.860 where it had 0.810 itself)",
        "perturbed: lr 0.01 -> 0.012, batch size 32 -> 64",
        "the copied values stay as they are",
    ]
    assert decisions(results, "t0001")[-1] == "t0000 took over its weights of epoch 1"
    event["details"]["score"] = None  # as JSON has NaN
    assert "val accuracy 0.860 where it had diverged" in decisions(builder.finish(), "t0000")[-3]


def test_failures_retries_and_resumes_are_told_with_their_reasons(builder: SweepBuilder) -> None:
    builder.event("retried", "t0000", reason="ValueError: once", error="…", counted=1)
    builder.event("restored", "t0000", reason="a.pt is damaged", passed_over=["a.pt"])
    builder.event("repeated", "t0000", checkpoint="checkpoints/t0000/a.pt", digest="0" * 64)
    builder.event("moved", "t0000", reason="its node is about to be taken away")
    builder.event("interrupted", "t0000", reason="stopped by the user")
    builder.event("resumed", arm=None, spec={}, reopened=["t0000"])
    builder.event("failed", "t0000", reason="ValueError: twice", error="Traceback:\n  a line\nValueError: twice\n")
    results = builder.finish()
    assert decisions(results, "t0000")[-7:] == [
        "failed, and is tried again from its last checkpoint: ValueError: once",
        "goes on from an older checkpoint: a.pt is damaged",
        "this epoch was trained again, from an older checkpoint",
        "moves to another node: its node is about to be taken away",
        "interrupted with the sweep: stopped by the user",
        "the sweep was resumed, and it goes on",
        "failed for good: ValueError: twice",
    ]
    lines = told(results, "t0000")
    assert lines[lines.index("What it raised") :][1:4] == ["Traceback:", "  a line", "ValueError: twice"]
    assert not any("resumed" in line for line in decisions(results, "t0001"))


def test_the_survivor_of_a_screening(builder: SweepBuilder) -> None:
    builder.event("paused", "t0000", reason="waits for others")
    builder.event("joined", "t0000", members=8, rank=3)
    assert decisions(builder.finish(), "t0000")[-2:] == [
        "pauses: waits for others",
        "survived the screening as number 3, and is one of 8 members of the population",
    ]


def test_the_files_that_are_kept_of_it_are_named(tmp_path: Path, builder: SweepBuilder) -> None:
    for name in ("t0000/g0-e0001-aaaa.pt", "t0000/g0-e0002-bbbb.pt", "t0001/g0-e0001-cccc.pt"):
        file = tmp_path / "results/demo/checkpoints" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "results/demo/best").mkdir()
    builder.event("evaluated", "t0000", trial="t0000", accuracy=0.9)
    lines = told(builder.finish(), "t0000")
    assert lines[-4:-1] == [
        "model        results/demo/best",
        "checkpoints  results/demo/checkpoints/t0000/g0-e0001-aaaa.pt",
        "             results/demo/checkpoints/t0000/g0-e0002-bbbb.pt",
    ]


def test_tables_of_the_first_versions_do_not_say_how_long_the_sweep_had_run(builder: SweepBuilder) -> None:
    for record in builder.records:
        del record["elapsed"]
    assert "    0      2s  a worker takes it" in told(builder.finish(), "t0001")


def test_without_a_sweep_it_is_of_the_newest(run: Run, tmp_path: Path) -> None:
    make_sweep(tmp_path / "results")
    assert run("trial", "t0001") == run("trial", "demo", "t0001")


@pytest.mark.parametrize("arguments", [(), ("demo",)])
def test_without_a_trial_all_are_listed_with_their_ends(run: Run, tmp_path: Path, arguments: Any) -> None:
    make_sweep(tmp_path / "results")
    code, out, err = run("trial", *arguments)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "trial          epoch  best val accuracy  state     why it ended",
        "t0000            1/4              0.700  stopped   the stage ended",
        "t0000-scratch    1/4              0.400  stopped   the stage ended",
        "t0001            4/4              0.950  finished  trained to the last epoch",
        "t0001-scratch    4/4              0.750  finished  trained to the last epoch",
        "t0002            3/4              0.820  stopped   the stage ended",
        "t0002-scratch    1/4              0.200  stopped   the stage ended",
        "t0003            1/4                  -  stopped   diverged: the loss is not a finite number",
        "t0003-scratch    0/4                  -  failed    ValueError: [boom]",
        "",
        "next  tlsweep trial demo t0000  its epochs, and each decision about it",
    ]


def test_a_sweep_that_was_stopped_before_its_first_trial_has_none_to_list(run: Run, tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path / "results")
    builder.event("interrupted", reason="stopped by the user")
    builder.finish()
    assert run("trial", "demo") == (0, "no trial of 'demo' has begun yet\n", "")


def test_a_sweep_that_is_called_as_trials_are_is_meant_by_its_name(run: Run, tmp_path: Path) -> None:
    shutil.copytree(make_sweep(tmp_path / "results").path, tmp_path / "results" / "t1")
    code, out, err = run("trial", "t1")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("next  tlsweep trial t1 t0000")


ALL = "there are t0000 to t0003, t0000-scratch to t0003-scratch"
SWEEPS = "there are: demo; --results names another folder of sweeps"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("demo", "t7"), f"there is no trial 't7' in 'demo'; {ALL}"),
        (("demo", "t0007"), f"there is no trial 't0007' in 'demo'; {ALL}"),
        (("t0007",), f"there is no trial 't0007' in 'demo'; {ALL}"),
        (("demo", "t3"), "there is no trial 't3' in 'demo'; did you mean 't0003'?"),
        (("demo", "t0003-scrath"), "there is no trial 't0003-scrath' in 'demo'; did you mean 't0003-scratch'?"),
        (("demo", "\x1b[2J"), f"there is no trial '\\x1b[2J' in 'demo'; {ALL}"),
        (("demi", "t0001"), f"there is no sweep 'demi' in 'results'; {SWEEPS}"),
        (("demi",), f"there is no sweep 'demi' in 'results'; {SWEEPS}"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_message_with_what_is(run: Run, tmp_path: Path, arguments: Any, problem: str) -> None:
    make_sweep(tmp_path / "results")
    assert run("trial", *arguments) == (2, "", f"error: {problem}\n")
