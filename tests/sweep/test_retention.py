"""Nothing that is still needed is ever removed, and nothing else stays."""

from pathlib import Path
from typing import Any

import pytest
from builders import forge_journal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from referee_harness import Stage
from simulated_sweep import SimulatedSweep, Stay

from tlsweep.errors import ResultsError
from tlsweep.spec import PopulationSearch
from tlsweep.store import Status
from tlsweep.sweep.referee import INTERRUPTED, Referee
from tlsweep.sweep.retention import KEPT_TRIALS

pytestmark = pytest.mark.usefixtures("instant_disk", "no_tables")

SEARCHES = [
    ("search.strategy=random", "search.trials=7"),
    ("search.strategy=asha", "search.trials=9", "search.reduction_factor=2", "train.epochs=8"),
    ("search.strategy=asha", "search.form=promotion", "search.trials=9", "search.reduction_factor=2"),
    ("search.strategy=pbt", "search.population=4", "train.epochs=5", "search.quantile=0.5"),
    ("search.strategy=pbt", "search.population=5", "train.epochs=8", "search.interval=2", "search.quantile=0.4"),
    ("search.strategy=pbt", "search.population=4", "train.epochs=6", "search.synchronous=true"),
]


@pytest.mark.parametrize("search", SEARCHES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slots=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_whatever_happens_what_is_needed_is_there_and_in_the_end_only_the_best(
    tmp_path_factory: pytest.TempPathFactory, search: tuple[str, ...], slots: int, seed: int
) -> None:
    """That what an assignment names is there, the simulated sweep sees to itself."""

    def killed(stay: Stay, state: object) -> bool:
        return sweep.random.random() < 0.03

    def check(referee: Referee, stays: list[Stay]) -> None:
        files, winner = sweep.files(), referee.state.winner("main")
        for one in referee.state.trials.values():
            assert one.status.final or {kept.path for kept in one.trail} <= files
        assert winner is None or (winner.best is not None and winner.best["checkpoint"] in files)

    path = tmp_path_factory.mktemp("sweep")
    sweep = SimulatedSweep(path, *search, "budget.epochs=150", slots=slots, seed=seed, dies=killed)
    sweep.watch, sweep.tends = check, lambda: sweep.random.random() < 0.5
    state = sweep.launch()
    best = state.leaders("main", KEPT_TRIALS)
    population = isinstance(sweep.spec.search, PopulationSearch)
    finished = [one for one in state.trials.values() if one.status is Status.FINISHED and (population or one in best)]
    waiting = [one for one in state.trials.values() if one.resumable]  # for a larger budget
    kept = {one.best["checkpoint"] for one in best if one.best} | {one.trail[-1].path for one in finished}
    assert kept <= sweep.files()
    if not waiting:
        assert sweep.files() == kept
    folders = {folder.name for folder in (path / "checkpoints").iterdir()}
    assert folders == {file.split("/")[1] for file in sweep.files()}


def test_disk_use_grows_neither_with_epochs_nor_with_trials(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path, "search.trials=30", "train.epochs=9")
    most = 0

    def count(referee: Referee, stays: list[Stay]) -> None:
        nonlocal most
        most = max(most, len(sweep.files()))

    sweep.watch = count
    sweep.launch()
    # Of the running one its trail, its best, and what it just wrote, its last state and maybe a better one (`Outbox`);
    # of the best that ended their best and their last.
    assert most <= 5 + 2 * KEPT_TRIALS


def test_each_arm_keeps_its_own_best(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "controls=[scratch]", "model.weights=DEFAULT", "train.epochs=1", "search.trials=5")
    stage.start()
    for trial in list(stage.placed):
        stage.train(trial, 0.1 if trial.endswith("scratch") else 0.9)
    assert sum("scratch" in path for path in stage.files()) == KEPT_TRIALS
    assert len(stage.files()) == 2 * KEPT_TRIALS


def test_what_dying_workers_leave_is_gone_in_the_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    one, two, *_ = stage.start()
    stage.train(one, 0.5)
    stage.train(two, 0.4)
    before = stage.files()
    (stage.folder.checkpoints / one / "g0-e0002-0badc0de.pt").touch()  # written, but killed before it was reported
    for name in (".g0-e0002-0badc0de.pt.77.tmp", f".g0-e0002-0badc0de.pt.{'a1' * 16}.tmp", ".g0-e0002.pt.1.tmp"):
        (stage.folder.checkpoints / two / name).touch()  # half written, by this version or an earlier one
    stage.referee.ending.halt("enough")
    stage.train(two, 0.9)  # comes too late, and does not count
    stage.referee.close()
    assert stage.files() == before


def test_an_interrupted_sweep_keeps_what_it_needs_to_go_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=6")
    trials = stage.start()
    for at, trial in enumerate(trials):
        stage.train(trial, at / 10)
        stage.train(trial, at / 20)
    before = stage.files()
    stage.referee.ending.halt(INTERRUPTED, resumable=True)
    stage.referee.close()
    assert stage.files() == before
    assert len(before) == 2 * len(trials)


OTHERS = [
    "keys",
    "t0000/keys.pt",
    "t0000/notes.txt",
    "mine/g0.pt",
    "t0000/g0-e0001.pt.bak",
    "sub/deep/g0-e0001.pt",
    ".rc",
]


@pytest.mark.parametrize("name", OTHERS)
def test_what_tlsweep_did_not_make_stays(tmp_path: Path, name: str) -> None:
    stage = Stage(tmp_path)
    trial, *_ = stage.start()
    stage.train(trial, 0.5)
    other = stage.folder.checkpoints / name
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("mine")
    (stage.folder.checkpoints / "empty").mkdir()
    stage.referee.ending.halt("enough")
    stage.referee.close()
    assert other.read_text() == "mine"
    assert (stage.folder.checkpoints / "empty").is_dir()


@pytest.mark.parametrize("link", ["checkpoints", "checkpoints/t0001", "checkpoints/t0001/g0-e0001-0badc0de.pt"])
def test_nothing_is_removed_through_a_link(tmp_path: Path, link: str) -> None:
    """Each of these names is one that tlsweep could have made."""
    other, path = tmp_path / "other", "checkpoints/t0001/g0-e0001-0badc0de.pt"
    (other / path).parent.mkdir(parents=True)
    (other / path).write_text("mine")
    (tmp_path / "it" / link).parent.mkdir(parents=True)
    stage = Stage(tmp_path / "it")
    if link == "checkpoints":
        (tmp_path / "it" / link).rmdir()
    (tmp_path / "it" / link).symlink_to(other / link)
    with pytest.raises(ResultsError, match=f"{link}' is a link"):
        stage.referee.close()
    assert (other / path).read_text() == "mine"


@pytest.mark.parametrize("path", ["/keys", "../keys", "checkpoints/../../keys", "checkpoints/t0000/../../../keys"])
def test_a_journal_of_a_strangers_removes_nothing_of_ours(tmp_path: Path, path: str) -> None:
    """What a stopped trial's checkpoint would be, were the journal believed."""
    keys = tmp_path / "keys"
    keys.write_text("mine")
    stage = Stage(tmp_path / "it", "search.trials=4")
    for at, trial in enumerate(stage.start()):
        stage.train(trial, at / 10)
    stage.referee.ending.halt("enough")
    stage.referee.close()
    wrong = str(keys) if path == "/keys" else path

    def lead_out(record: dict[str, Any]) -> None:
        if record.get("checkpoint") and record["trial"] == "t0000":
            record["checkpoint"] = wrong

    forge_journal(stage.folder.journal, lead_out)
    with pytest.raises(ResultsError, match="checkpoint = .* is none that tlsweep writes"):
        Stage(tmp_path / "it", "search.trials=4")
    assert keys.read_text() == "mine"
