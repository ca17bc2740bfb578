"""The verbs: what they print, and with what code they end."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import SPEC, SweepBuilder, make_sweep

import tlsweep.sweep
from tlsweep.cli import main
from tlsweep.errors import ResourceError, SweepFailed
from tlsweep.report.recipe import write_recipe
from tlsweep.spec import SweepSpec, presets

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`tlsweep ...` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tlsweep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err  # type: ignore[return-value]

    return run


@pytest.fixture
def sweep_room(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for tlsweep.sweep: `calls` are the arguments it was called with."""
    room = SimpleNamespace(calls=[], outcome=None)

    def launch(spec: SweepSpec, **options: Any) -> Any:
        room.calls.append((spec, options))
        if isinstance(room.outcome, BaseException):
            raise room.outcome
        return room.outcome(options)

    def debug_trial(spec: SweepSpec, *, report: Callable[[Mapping[str, Any]], None]) -> None:
        for epoch in (1, 2):
            metrics = {"train_loss": 0.5, "val_loss": 0.25, "val_accuracy": 0.75 + epoch / 10}
            report({"epoch": epoch, "lr": 0.0123456, "train_seconds": 0.126, **metrics})

    def resume(name: str, spec: Callable[[dict[str, Any]], SweepSpec], **options: Any) -> Any:
        return launch(spec(dict(SPEC)), name=name, **options)

    for stand_in in (launch, resume, debug_trial):
        monkeypatch.setattr(tlsweep.sweep, stand_in.__name__, stand_in)
    return room


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    code = "import sys; sys.argv = ['tlsweep', '--help']\nfrom tlsweep.cli import main\n"
    listing = "try: main()\nexcept SystemExit: print(' '.join(sys.modules), file=sys.stderr)"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code + listing], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    loaded = set(done.stderr.split())
    assert "tlsweep.cli" in loaded
    assert not loaded & {"ray", "torch", "torchvision", "pandas", "pyarrow", "numpy", "sklearn", "pydantic"}
    assert all(verb in done.stdout for verb in ("launch", "check", "presets", "best", "report"))
    assert min(seconds) < 0.5  # of processor time: other programs may run


def test_python_m_tlsweep_is_the_same_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tlsweep", "best"], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no sweep yet in 'results'; start one with tlsweep launch\n"


def test_version(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version") == (0, f"tlsweep {version('tlsweep')}\n", "")


@pytest.mark.parametrize("arguments", [["launch", "--bogus"], ["nonsense"], ["launch", "a", "b"]])
def test_a_wrong_command_line_ends_with_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage" in err


def test_a_mistake_in_the_spec_is_one_message_complete_and_without_markup(run: Run) -> None:
    code, out, err = run("launch", "digits", "-o", "train.lr={loguniform: [[red], 0]}", "-o", "seed=[x]")
    assert (code, out) == (2, "")
    assert err.startswith("error: digits")
    assert "Traceback" not in err
    assert "[['red'], 0]" in err  # one line where no terminal has to fit it


def test_a_preset_is_printed_verbatim_so_that_it_makes_a_spec(run: Run) -> None:
    for name, text in presets().items():
        assert run("presets", name) == (0, text, "")


def test_presets_are_listed_each_with_its_command(run: Run) -> None:
    code, out, _ = run("presets")
    assert code == 0
    assert "tlsweep launch digits" in out
    assert {line.split()[0] for line in out.splitlines() if line and line[0] != " "} == set(presets())


def test_an_unknown_preset_names_the_known_ones(run: Run) -> None:
    code, _, err = run("presets", "digit")
    assert code == 2
    assert err.startswith("error: there is no preset 'digit'; known: ")


def test_launch_hands_over_what_was_typed(run: Run, tmp_path: Path, sweep_room: SimpleNamespace) -> None:
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "r", "mine")
    options = ["--name", "mine", "--results", "r", "--address", "auto", "--no-dashboard", "--local", "--quiet"]
    code, out, err = run("launch", "digits", "-o", "train.epochs=3", *options)
    assert (code, err) == (0, "")
    ((spec, passed),) = sweep_room.calls
    assert (spec.name, spec.train.epochs) == ("digits", 3)
    assert passed.pop("observer")._observers[0].resume is None
    assert passed == {
        "results": "r", "name": "mine", "local": True, "address": "auto", "dashboard": False,
    }  # fmt: skip
    assert out.splitlines()[-1] == "results in r/mine"


def test_confirm_trains_the_recipe_of_a_sweep_again(run: Run, tmp_path: Path, sweep_room: SimpleNamespace) -> None:
    found = make_sweep(tmp_path / "results", "mine")
    code, _, err = run("confirm", "mine")
    assert (code, err) == (
        2, "error: 'mine' has no recipe yet: it is written when a sweep has ended; see 'tlsweep report'\n",
    )  # fmt: skip
    write_recipe(found.path)
    code, _, err = run("confirm", "mine", "-o", "train.lr=0.5")
    assert (code, err) == (
        2, "error: -o train.lr=0.5: train.lr is the recipe's, which is trained again as it is; leave it out\n",
    )  # fmt: skip
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "results", "other")
    assert run("confirm", "mine", "--repeats", "3", "--local", "-q")[0] == 0
    ((spec, passed),) = sweep_room.calls
    assert (spec.name, spec.search.strategy, spec.data.repeats) == ("mine-confirmed", "recipe", 3)
    assert (passed["name"], passed["local"], passed["results"]) == (None, True, "results")  # the name may be numbered


def test_a_study_is_a_flag(run: Run, tmp_path: Path, sweep_room: SimpleNamespace) -> None:
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "results")
    assert run("launch", "--study", "freeze", "--study", "few_labels=5,10", "-q")[0] == 0
    ((spec, _),) = sweep_room.calls
    assert (spec.study.freeze, spec.study.few_labels, spec.data.labels_per_class) == (True, (10, 5), 10)
    code, _, err = run("launch", "--study", "frieze")
    assert (code, err) == (2, "error: --study 'frieze': write freeze, or few_labels=5,10,25\n")


def test_launch_without_arguments_is_the_digits_into_results(run: Run, tmp_path: Path, sweep_room: Any) -> None:
    def outcome(options: Mapping[str, Any]) -> Any:
        options["observer"].phase("decoding images")
        return make_sweep(tmp_path / "results")

    sweep_room.outcome = outcome
    code, out, _ = run("launch")
    ((spec, passed),) = sweep_room.calls
    assert (code, spec.name, passed["results"], passed["name"]) == (0, "digits", "results", None)
    assert out.startswith("decoding images\n")
    assert "tlsweep report demo" in out


def test_an_interrupted_sweep_shows_its_outcome_and_ends_with_130(run: Run, tmp_path: Path, sweep_room: Any) -> None:
    def outcome(options: Mapping[str, Any]) -> Any:
        builder = SweepBuilder(tmp_path / "results")
        builder.create("t0000", 0)
        builder.report("t0000", 0.5)
        builder.event("interrupted", "t0000", reason="interrupted")
        builder.event("interrupted", reason="interrupted")
        return builder.finish()

    sweep_room.outcome = outcome
    code, out, _ = run("launch")
    assert code == 130
    assert "The sweep was interrupted; everything up to then is kept." in out


def test_resume_takes_the_stored_spec_and_extends_it(run: Run, tmp_path: Path, sweep_room: SimpleNamespace) -> None:
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "r", "mine")
    code, out, err = run("launch", "--resume", "mine", "-o", "train.epochs=9", "--results", "r", "--local", "--quiet")
    assert (code, err) == (0, "")
    ((spec, passed),) = sweep_room.calls
    assert (spec.train.epochs, spec.search.strategy) == (9, SPEC["search"]["strategy"])
    assert passed.pop("observer")._observers[0].resume == "tlsweep launch --resume mine --results r"
    assert passed == {"results": "r", "name": "mine", "local": True, "address": None, "dashboard": True}
    assert out.splitlines()[-1] == "results in r/mine"


def test_or_resume_goes_on_with_a_sweep_that_has_begun_and_begins_it_else(
    run: Run, tmp_path: Path, sweep_room: Any
) -> None:
    made: list[Any] = []

    def outcome(options: Mapping[str, Any]) -> Any:
        made.extend([] if made else [make_sweep(tmp_path / "r", "mine")])
        return made[0]

    sweep_room.outcome = outcome
    arguments = ("launch", "digits", "--name", "mine", "--or-resume", "--results", "r")
    assert run(*arguments)[0] == 0
    assert run(*arguments)[0] == 0
    (_, first), (_, second) = sweep_room.calls
    assert (first["name"], second["name"]) == ("mine", "mine")
    hints = [one["observer"]._observers[0].resume for one in (first, second)]
    assert hints == [None, "tlsweep launch --resume mine --results r"]  # begun, then gone on with
    assert run("launch", "digits", "--or-resume")[2].startswith("error: --or-resume goes on with the sweep of a name")


@pytest.mark.parametrize("option", [["--name", "other"], ["--debug"]])
def test_resume_does_not_go_with_what_begins_something_new(run: Run, sweep_room: Any, option: list[str]) -> None:
    code, out, err = run("launch", "--resume", "mine", *option)
    assert (code, out, sweep_room.calls) == (2, "", [])
    assert err.startswith("error: --resume goes on with a sweep that has a name; leave --name and --debug out")


def test_ctrl_c_before_the_sweep_is_one_line(run: Run, sweep_room: Any) -> None:
    sweep_room.outcome = KeyboardInterrupt()
    assert run("launch", "--quiet") == (130, "", "interrupted; no trial had begun\n")


def test_when_every_trial_failed_the_first_traceback_is_shown_whole(run: Run, sweep_room: Any) -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory [GPU 0]: " + "x" * 100
    sweep_room.outcome = SweepFailed(f"all 8 trials failed; the first one with\n\nTraceback:\n{line}")
    code, out, err = run("launch", "--quiet")
    assert (code, out) == (1, "")
    assert line.replace(" ", "") in "".join(err.split())


def test_an_error_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, sweep_room: Any) -> None:
    sweep_room.outcome = ZeroDivisionError("a defect")
    monkeypatch.setattr(sys, "argv", ["tlsweep", "launch", "--quiet"])
    with pytest.raises(ZeroDivisionError, match="a defect"):
        main()


def test_debug_prints_a_line_for_each_epoch(run: Run, sweep_room: Any) -> None:
    assert run("launch", "--debug") == (
        0,
        "epoch 1: train_loss 0.500, val_loss 0.250, val_accuracy 0.850, lr 0.0123, 0.13 s\n"
        "epoch 2: train_loss 0.500, val_loss 0.250, val_accuracy 0.950, lr 0.0123, 0.13 s\n",
        "",
    )
    assert sweep_room.calls == []


def test_best_takes_a_name_a_path_or_the_newest(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_sweep(tmp_path / "results", name)
    os.utime(tmp_path / "results" / "one" / "journal.jsonl", (0, 0))
    for arguments, name in ((["one"], "one"), ([], "two"), ([str(tmp_path / "results" / "one")], "one")):
        code, out, _ = run("best", *arguments, "--json")
        assert (code, json.loads(out)["sweep"]) == (0, name)
    code, out, _ = run("best", "one")
    assert (code, out.splitlines()[0].split()) == (0, ["sweep", "one"])


def test_report_of_a_sweep_in_another_folder(run: Run, tmp_path: Path) -> None:
    make_sweep(tmp_path / "elsewhere", "demo")
    code, out, _ = run("report", "demo", "--results", "elsewhere")
    assert code == 0
    assert "tlsweep best demo --results elsewhere" in out
    code, _, err = run("report", "other", "--results", "elsewhere")
    assert (code, err) == (2, "error: there is no sweep 'other' in 'elsewhere'; there are: demo\n")


def test_check_prints_the_plan_or_the_one_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlsweep.sweep.plan import Plan

    plan = Plan(
        arms=("main",), trials=8, epochs_at_most=80, train_images=100, val_images=20, test_images=20,
        classes=("ants", "bees"), image_shape=(3, 224, 224), model="resnet18", weights="file a.pth",
        parameters=11_000_000, device="cpu", slots=2, seconds_at_most=90.0, checkpoint_bytes=1024, storage_bytes=2048,
        skipped_files=0, nodes_checked=3,
    )  # fmt: skip
    asked = []

    def make_plan(spec: SweepSpec, **options: Any) -> Plan:
        asked.append((spec.search.strategy, options["address"]))
        return plan

    monkeypatch.setattr(tlsweep.sweep, "make_plan", make_plan)
    code, out, err = run("check", "digits", "-o", "search.strategy=random", "--address", "auto")
    assert (code, err, asked) == (0, "", [("random", "auto")])
    assert [line.rstrip() for line in out.splitlines()][1:3] == [
        "classes  2: ants, bees",
        "image    224 × 224 pixels, colour",
    ]

    def refuse(spec: SweepSpec, **options: Any) -> Plan:
        raise ResourceError("a trial asks for 64 CPUs")

    monkeypatch.setattr(tlsweep.sweep, "make_plan", refuse)
    assert run("check") == (2, "", "error: a trial asks for 64 CPUs\n")
