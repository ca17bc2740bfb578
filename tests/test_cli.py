"""The verbs: what they print, and with what code they end."""

import io
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
from builders import SPEC, SweepBuilder, make_ended_sweep, make_sweep
from in_process import Run

import tlsweep.planning
import tlsweep.sweep
from tlsweep.cli import jobs, main, submission
from tlsweep.errors import ResourceError, SweepFailed
from tlsweep.report.recipe import write_recipe
from tlsweep.spec import SweepSpec, presets

ELSEWHERE = "--results names another folder of sweeps"


@pytest.fixture
def sweep_room(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for tlsweep.sweep: `calls` are the arguments it was called with."""
    room = SimpleNamespace(calls=[], outcome=None)

    def launch(spec: SweepSpec, **options: Any) -> Any:
        room.calls.append((spec, options))
        if isinstance(room.outcome, BaseException):
            raise room.outcome
        return room.outcome(options)

    def debug_trial(spec: SweepSpec, *, report: Callable[[Mapping[str, Any]], None]) -> bool:
        for epoch in (1, 2):
            metrics = {"train_loss": 0.5, "val_loss": 0.25, "val_accuracy": 0.75 + epoch / 10}
            report({"epoch": epoch, "scheduled_lr": 0.0123456, "train_seconds": 0.126, **metrics})
        return True

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
    assert all(verb in done.stdout for verb in ("launch", "resume", "submit", "debug", "best", "report"))
    assert min(seconds) < 0.5  # of processor time: other programs may run


def test_python_m_tlsweep_is_the_same_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tlsweep", "best"], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: there is no sweep yet in 'results'; start one with tlsweep launch; {ELSEWHERE}\n"


def test_version(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version") == (0, f"tlsweep {version('tlsweep')}\n", "")


@pytest.mark.parametrize("arguments", [["launch", "--bogus"], ["nonsense"], ["launch", "a", "b"]])
def test_a_wrong_command_line_ends_with_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage" in err


@pytest.mark.parametrize(
    ("option", "field"),
    [("--trials", "search.trials"), ("--epochs", "train.epochs"), ("--lr", "train.lr"), ("--seed", "seed"),
     ("--batch-size", "train.batch_size"), ("--learning-rate", "train.lr"), ("--wall-time", "budget.wall_time")],
)  # fmt: skip
def test_an_option_that_is_a_field_is_told_how_a_field_is_set(run: Run, option: str, field: str) -> None:
    for verb in ("launch", "check", "rank"):
        code, _, err = run(verb, "digits", option, "3")
        assert code == 2
        assert f"-o {field}=VALUE" in " ".join(err.replace("│", " ").split())
    assert "-o" not in run("best", option, "3")[2]


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
    assert run("confirm", "mine", "--repeats", "3", "--top", "2", "--local", "-q")[0] == 0
    ((spec, passed),) = sweep_room.calls
    assert (spec.name, spec.search.strategy, spec.data.repeats) == ("mine-confirmed", "recipe", 3)
    # The next best member; and no probe, as nothing says that trials began with it.
    assert spec.arms == ("main", "t0002", "constant", "hyperrule", "tutorial")
    assert (passed["name"], passed["local"], passed["results"]) == (None, True, "results")  # the name may be numbered


@pytest.mark.parametrize(("arguments", "repeats", "number"), [((), 1, 0), (("--seeds", "3"), 3, None)])
def test_replay_trains_a_recipe_again_where_it_is_or_with_other_seeds(
    run: Run, tmp_path: Path, sweep_room: SimpleNamespace, arguments: tuple[str, ...], repeats: int, number: int | None
) -> None:
    found = make_sweep(tmp_path / "results", "mine")
    write_recipe(found.path)
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "results", "other")
    code, _, err = run("replay", str(found.path), "--data", "x", *arguments)
    assert (code, "unknown field 'path'; it is a field of source folder, table" in err) == (2, True)
    assert (
        run("replay", str(found.path / "recipe.yaml"), *arguments, "-o", "resources.cpus=2", "--name", "n", "-q")[0]
        == 0
    )
    ((spec, passed),) = sweep_room.calls
    assert (spec.name, spec.search.strategy, passed["name"]) == ("mine-replayed", "recipe", "n")
    assert (spec.data.repeats, spec.search.schedule[0].number, spec.resources.cpus) == (repeats, number, 2)


def test_a_study_is_a_flag(run: Run, tmp_path: Path, sweep_room: SimpleNamespace) -> None:
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "results")
    assert run("launch", "--study", "freeze", "--study", "few_labels=5,10", "-q")[0] == 0
    ((spec, _),) = sweep_room.calls
    assert (spec.study.freeze, spec.study.few_labels, spec.data.labels_per_class) == (True, (10, 5), 10)
    code, _, err = run("launch", "--study", "frieze")
    assert (code, err) == (2, "error: --study 'frieze': write freeze, federation, or few_labels=5,10,25\n")


def test_launch_without_arguments_is_the_digits_into_results(run: Run, tmp_path: Path, sweep_room: Any) -> None:
    def outcome(options: Mapping[str, Any]) -> Any:
        options["observer"].phase("decoding images")
        return make_sweep(tmp_path / "results")

    sweep_room.outcome = outcome
    code, out, _ = run("launch")
    ((spec, passed),) = sweep_room.calls
    assert (code, spec.name, passed["results"], passed["name"]) == (0, "digits", "results", None)
    assert out.splitlines()[:2] == [
        "starting the demonstration, preset digits (asha: 24 trials × 27 epochs × 2 arms (main, scratch); cnn, "
        "pretrained on digits (source), on digits (target))",
        "decoding images",
    ]
    assert "tlsweep report demo" in out


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch, run: Run) -> Callable[..., tuple[int, str, str]]:
    """`tlsweep ...`, by somebody who sits at a terminal and types `answer`."""

    def asked(answer: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        for stream in (sys.stdin, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        return run(*arguments)

    return asked


@pytest.mark.parametrize("verb", ["launch", "confirm"])
@pytest.mark.parametrize(
    ("answer", "code", "started"), [("\n", 0, True), ("y\n", 0, True), ("n\n", 130, False), ("", 130, False)]
)
def test_somebody_at_a_terminal_is_asked_before_what_was_not_named_is_started(
    at_a_terminal: Any, tmp_path: Path, sweep_room: Any, verb: str, answer: str, code: int, started: bool
) -> None:
    newest = make_sweep(tmp_path / "results", "mine")
    write_recipe(newest.path)
    sweep_room.outcome = lambda options: newest
    ended, out, err = at_a_terminal(answer, verb)
    what = {
        "launch": "This starts the demonstration, preset digits (asha: 24 trials × 27 epochs",
        "confirm": "This starts 5 networks with the recipe of 'mine', the newest sweep in 'results', and as many of",
    }[verb]
    assert what in err
    assert (ended, len(sweep_room.calls)) == (code, started)
    assert ("nothing was started" in err) is not started
    assert "starting" not in out


def test_confirming_what_folds_judged_is_told_with_the_networks_of_all_folds(
    at_a_terminal: Any, tmp_path: Path
) -> None:
    recipe = make_ended_sweep(tmp_path / "results") / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("folds: null", "folds: 4", 1))
    assert "This starts 20 networks with the recipe" in at_a_terminal("n\n", "confirm")[2]


@pytest.mark.parametrize("arguments", [["launch", "digits"], ["launch", "-q"], ["confirm", "mine"], ["confirm", "-q"]])
def test_what_was_named_or_is_to_be_quiet_is_not_asked_about(
    at_a_terminal: Any, tmp_path: Path, sweep_room: Any, arguments: list[str]
) -> None:
    newest = make_sweep(tmp_path / "results", "mine")
    write_recipe(newest.path)
    sweep_room.outcome = lambda options: newest
    code, out, err = at_a_terminal("", *arguments)
    assert (code, err, len(sweep_room.calls)) == (0, "", 1)
    assert "starting" not in out


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


@pytest.mark.parametrize("verb", [["resume"], ["launch", "--resume"]], ids=" ".join)
def test_resume_takes_the_stored_spec_and_extends_it(
    run: Run, tmp_path: Path, sweep_room: SimpleNamespace, verb: list[str]
) -> None:
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "r", "mine")
    code, out, err = run(*verb, "mine", "-o", "train.epochs=9", "--results", "r", "--local", "--quiet")
    assert (code, err) == (0, "")
    ((spec, passed),) = sweep_room.calls
    assert (spec.train.epochs, spec.search.strategy) == (9, SPEC["search"]["strategy"])
    assert passed.pop("observer")._observers[0].resume == "tlsweep resume mine --results r"
    assert passed == {"results": "r", "name": "mine", "local": True, "address": None, "dashboard": True}
    assert out.splitlines()[-1] == "results in r/mine"


@pytest.mark.parametrize("verb", [["resume", "mine", "--spec", "digits"], ["launch", "digits", "--resume", "mine"]])
def test_resume_may_take_another_spec(run: Run, tmp_path: Path, sweep_room: Any, verb: list[str]) -> None:
    sweep_room.outcome = lambda options: make_sweep(tmp_path / "r", "mine")
    assert run(*verb, "--quiet")[0] == 0
    ((spec, passed),) = sweep_room.calls
    assert (spec.name, spec.search.strategy, passed["name"]) == ("digits", "asha", "mine")


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
    assert hints == [None, "tlsweep resume mine --results r"]  # begun, then gone on with
    assert run("launch", "digits", "--or-resume")[2].startswith("error: --or-resume goes on with the sweep of a name")


def test_a_resume_of_nothing_names_the_sweeps_that_are_there(run: Run, tmp_path: Path, sweep_room: Any) -> None:
    empty = f"error: there is no sweep yet in 'results'; start one with tlsweep launch; {ELSEWHERE}\n"
    assert run("resume") == (2, "", empty)
    make_sweep(tmp_path / "results", "mine")
    which = "error: which sweep? write tlsweep resume NAME; in 'results' there are: mine; "
    assert run("resume") == (2, "", f"{which}{ELSEWHERE}\n")
    assert run("resume", "--on", URL) == (2, "", "error: which sweep? write tlsweep resume NAME --on URL\n")


@pytest.mark.parametrize("verb", ["status", "attach", "stop"])
def test_verbs_for_jobs_say_that_they_are_where_there_is_no_cluster(
    run: Run, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(jobs, "job_server", refusing)
    assert "'status', 'attach' and 'stop' are for sweeps that 'tlsweep submit' sent" in run(verb)[2]
    assert run(verb, "--on", "http://10.0.0.1:8265")[2] == "error: nothing answers\n"  # who names one knows that


def refusing(url: str) -> Any:
    raise ResourceError("nothing answers")


@pytest.mark.parametrize("option", [["--name", "other"], ["--debug"]])
def test_resume_does_not_go_with_what_begins_something_new(run: Run, sweep_room: Any, option: list[str]) -> None:
    code, out, err = run("launch", "--resume", "mine", *option)
    assert (code, out, sweep_room.calls) == (2, "", [])
    assert err.startswith("error: --resume goes on with a sweep that has a name; leave --name and --debug out")


@pytest.fixture
def job_server(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stands in for a cluster: with what it was asked to run."""
    asked: list[tuple[Any, ...]] = []

    class Server:
        def __init__(self, url: str) -> None:
            self.url = url

        def submit(self, spec: SweepSpec | None, **options: Any) -> str:
            options.pop("on_packed")
            asked.append((self.url, spec and spec.train.epochs, options))
            return "tlsweep-mine-1"

    monkeypatch.setattr(submission, "job_server", Server)
    return asked


URL = "http://127.0.0.1:8265"
JOB = {"name": None, "resume": None, "or_resume": False, "overrides": (), "code": None, "quiet": False}


@pytest.mark.parametrize("verb", [["submit", "digits", URL], ["launch", "digits", "--submit", URL]], ids=" ".join)
def test_submit_hands_a_spec_to_a_cluster(run: Run, job_server: list[Any], verb: list[str]) -> None:
    options = ["-o", "train.epochs=3", "--name", "mine", "--or-resume", "--results", "/r", "--code", ".", "--detach"]
    code, out, err = run(*verb, *options)
    assert (code, err) == (0, "")
    assert out.startswith("submitted tlsweep-mine-1; 'tlsweep attach tlsweep-mine-1 --on http://127.0.0.1:8265' shows")
    changed = {"name": "mine", "or_resume": True, "code": Path(), "results": "/r"}
    assert job_server == [(URL, 3, JOB | changed)]


@pytest.mark.parametrize(
    "verb", [["resume", "mine", "--on", URL], ["launch", "--resume", "mine", "--submit", URL]], ids=" ".join
)
def test_a_sweep_on_a_cluster_is_resumed_there_with_the_spec_that_it_has(
    run: Run, job_server: list[Any], verb: list[str]
) -> None:
    assert run(*verb, "-o", "train.epochs=3", "--results", "/r", "--detach")[0] == 0
    changed = {"resume": "mine", "results": "/r", "overrides": ("train.epochs=3",)}
    assert job_server == [(URL, None, JOB | changed)]


def test_what_can_never_act_is_refused_before_it_is_sent(run: Run, job_server: list[Any]) -> None:
    code, out, err = run("submit", "digits", URL, "-o", "train.epochs=3", "--results", "/r")
    assert (code, out, job_server) == (2, "", [])
    assert err.startswith("error: search.min_epochs = 3: must be below train.epochs 3, or no trial is stopped; lower")


def test_the_cluster_of_a_job_may_be_named_by_the_environment(
    run: Run, job_server: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", URL)
    assert run("submit", "digits", "--results", "/r", "--detach")[0] == 0
    assert job_server[0][0] == URL


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["launch", "digits", "--submit", URL, "--local"], "--submit runs it on a cluster; leave --local,"),
        (["resume", "mine", "--on", URL, "--address", "auto"], "--on runs it as a job on a cluster; leave --local,"),
        (["resume", "mine", "--detach"], "--detach, --dry-run and --code say how a job is submitted; add --on URL"),
        (["launch", "digits", "--detach"], "--detach, --dry-run and --code say how a job is submitted; write tlsweep"),
        (["submit", "digits", URL, "--or-resume"], "--or-resume goes on with the sweep of a name"),
    ],
)
def test_options_of_jobs_and_of_a_ray_here_do_not_mix(
    run: Run, job_server: list[Any], arguments: list[str], told: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out, job_server) == (2, "", [])
    assert err.startswith(f"error: {told}")


def test_what_verbs_have_replaced_is_no_option_that_help_shows(run: Run) -> None:
    shown = run("launch", "--help")[1]
    assert "--or-resume" in shown
    for option in ("--resume", "--submit", "--debug", "--detach", "--code", "--dry-run"):
        assert f" {option} " not in shown


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


def test_a_working_folder_that_is_removed_meanwhile_is_one_line(run: Run, tmp_path: Path, sweep_room: Any) -> None:
    def outcome(options: Mapping[str, Any]) -> Any:
        (tmp_path / "gone").rmdir()
        return os.getcwd()

    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    sweep_room.outcome = outcome
    told = "error: the working directory cannot be used (No such file or directory); change into one that exists\n"
    assert run("launch", "--quiet") == (2, "", told)


@pytest.mark.parametrize("verb", [["debug"], ["debug", "digits"], ["launch", "--debug"]], ids=" ".join)
def test_debug_prints_a_line_for_each_epoch(run: Run, sweep_room: Any, verb: list[str]) -> None:
    assert run(*verb) == (
        0,
        "epoch 1: train_loss 0.500 val_loss 0.250 val_accuracy 0.850 lr 0.0123 0.13s\n"
        "epoch 2: train_loss 0.500 val_loss 0.250 val_accuracy 0.950 lr 0.0123 0.13s\n",
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


@pytest.mark.parametrize("arguments", [["demo", "--results=~/x"], ["~/x/demo"], ["--results", "~/x"]])
def test_a_tilde_is_the_home_wherever_a_shell_leaves_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_sweep(tmp_path / "home" / "x", "demo")
    assert run("best", *arguments)[0] == 0
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "demo", "--results=~nobody-here/x"],
        ["best", "~nobody-here/x/demo"],
        ["check", "~nobody-here/my.yaml"],
        ["launch", "folder", "-o", "data.path=~nobody-here/images"],
        ["launch", "digits", "-o", "model.weights=~nobody-here/w.pth"],
    ],
)
def test_the_home_of_nobody_is_one_message(run: Run, arguments: list[str]) -> None:
    code, _, err = run(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "~nobody-here" in err


def test_report_of_a_sweep_in_another_folder(run: Run, tmp_path: Path) -> None:
    make_sweep(tmp_path / "elsewhere", "demo")
    code, out, _ = run("report", "demo", "--results", "elsewhere")
    assert code == 0
    assert "tlsweep best demo --results elsewhere" in out
    code, _, err = run("report", "other", "--results", "elsewhere")
    assert (code, err) == (2, f"error: there is no sweep 'other' in 'elsewhere'; there are: demo; {ELSEWHERE}\n")


def test_check_prints_the_plan_or_the_one_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlsweep.planning.plan import Plan

    plan = Plan(
        arms=("main",), trials=8, epochs_at_most=80, train_images=100, val_images=20, test_images=20,
        classes=("ants", "bees"), image_shape=(3, 224, 224), model="resnet18", weights="file a.pth",
        parameters=11_000_000, device="cpu", slots=2, seconds_at_most=90.0, checkpoint_bytes=1024, storage_bytes=2048,
        nodes_checked=3,
    )  # fmt: skip
    asked = []

    def make_plan(spec: SweepSpec, **options: Any) -> Plan:
        asked.append((spec.search.strategy, options["address"], options["contact_sheet"]))
        return plan

    monkeypatch.setattr(tlsweep.planning, "make_plan", make_plan)
    command = ("check", "digits", "-o", "search.strategy=random", "--address", "auto")
    code, out, err = run(*command, "--contact-sheet", "sheet.png")
    assert (code, err, asked) == (0, "", [("random", "auto", Path("sheet.png"))])
    assert [line.rstrip() for line in out.splitlines()][1:3] == [
        "classes  2: ants, bees",
        "image    224 × 224 pixels, colour",
    ]

    def refuse(spec: SweepSpec, **options: Any) -> Plan:
        raise ResourceError("a trial asks for 64 CPUs")

    monkeypatch.setattr(tlsweep.planning, "make_plan", refuse)
    assert run("check") == (2, "", "error: a trial asks for 64 CPUs\n")


def test_repair_makes_files_again_and_says_what_it_cannot(run: Run, tmp_path: Path) -> None:
    folder = make_ended_sweep(tmp_path / "results")
    (folder / "trials.parquet").unlink()
    (folder / "best/model.json").unlink()
    code, _, err = run("report", "demo")
    assert (code, err) == (
        2, f"error: '{folder}/trials.parquet' is missing; 'tlsweep repair demo' makes it again\n"
    )  # fmt: skip
    code, out, err = run("repair", "demo")
    assert (code, err) == (0, "")
    assert out == f"'{folder}/best/model.json' is missing; 'tlsweep resume demo' makes it again\n"
    assert run("report", "demo")[0] == 0
    (folder / "best/model.json").write_text("{}")
    assert run("repair", "demo")[1] == "spec, tables and what follows from them are as the journal of 'demo' has them\n"


@pytest.mark.parametrize(
    ("arguments", "told", "untold"),
    [
        (("launch", "digits", "--set", "train.lr=1"), "set by -o KEY.PATH=VALUE", "--submit"),
        (("launch", "--submi", "URL"), "set by -o KEY.PATH=VALUE", "--submit"),
        (("launch", "--loca"), "(Possible options: --local)", "--code"),
        (("launch", "--epochs", "3"), "set by -o train.epochs=VALUE", "Possible"),
        (("report", "--sett"), "No such option: --sett", "-o "),
    ],
)
def test_of_an_option_that_there_is_not_the_way_to_set_fields_is_told(
    run: Run, arguments: tuple[str, ...], told: str, untold: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    problem = " ".join(err[err.index("No such option") :].replace("│", " ").split())
    assert told in problem
    assert untold not in problem
