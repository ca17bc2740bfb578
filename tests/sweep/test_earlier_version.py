"""Results folders that an earlier version wrote are reported on, and an unfinished one is resumed."""

import io
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from completeness import assert_complete
from rich.console import Console
from without_ray import train_all

from tlsweep.data import load_task
from tlsweep.observer import Silence
from tlsweep.report import find_best, load_tables, repair
from tlsweep.report.recipe import confirmation
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Status, SweepFolder, open_results, read_journal
from tlsweep.store.tables import read_table
from tlsweep.sweep import driver
from tlsweep.sweep.resuming import read_history, stored_spec
from tlsweep.sweep.session import Material, open_session, recall
from tlsweep.sweep.trainable import Shared
from tlsweep.terminal import print_best, print_outcome, print_report
from tlsweep.training import load_exported

WRITTEN = Path(__file__).parents[1] / "support" / "earlier_version"
SCHEDULE = [("t0002", 0, 11)]
"""Trial, and epochs of each segment, of the winner that the earlier version found."""


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN / "finished", tmp_path / "finished"))


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN / "unfinished", tmp_path / "unfinished"))


def test_a_finished_sweep_of_an_earlier_version_is_reported_on(finished: Path) -> None:
    results = open_results(finished)
    best = find_best(load_tables(results))
    assert (best.trial, best.epoch) == ("t0002", 11)
    assert [(segment.trial, segment.from_epoch, segment.to_epoch) for segment in best.schedule] == SCHEDULE
    winner = results.winner()
    assert winner is not None
    assert winner.trial == best.trial
    shown = io.StringIO()
    for show in (print_best, print_outcome, print_report):
        show(Console(file=shown, width=200), results)
    assert "0.830" in shown.getvalue()  # the test accuracy, as the earlier version wrote it


def test_its_tables_are_made_again_from_its_journal(finished: Path) -> None:
    folder, tables = SweepFolder(finished), ("reports", "trials", "events")
    before = {name: rows_of(finished, name) for name in tables}
    for row in before["trials"]:  # of whose end that version gave no reason
        if row["status"] == "finished":
            row["reason"] = "trained to the last epoch"
    for name in tables:
        (finished / f"{name}.parquet").unlink()
    assert repair(folder) == []
    for name, rows in before.items():
        again = [{column: row[column] for column in rows[0]} for row in rows_of(finished, name)]
        assert repr(again) == repr(rows), name  # as text, so that NaN equals NaN


def rows_of(folder: Path, table: str) -> list[dict[str, Any]]:
    """What a table says, but which checkpoints are there: those of the finished sweep are left out."""
    columns = ("checkpoint", "checkpoint_digest")
    rows = read_table(folder, table).to_pylist()
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


def test_its_spec_its_recipe_and_its_model_still_load(finished: Path) -> None:
    assert load_spec(finished / "spec.yaml").search.strategy == "asha_then_pbt"
    assert load_spec(confirmation(open_results(finished), 3)).search.strategy == "recipe"
    assert len(load_exported(finished / "best")[1].classes) == 10


def test_an_unfinished_sweep_of_an_earlier_version_is_recalled(unfinished: Path) -> None:
    folder = SweepFolder(unfinished)
    spec = load_spec(stored_spec(folder))
    assert (spec.data.normalize, spec.train.settings().head) == ("train", "random")  # it trained so
    ledger = recall(spec, folder, read_history(folder, spec), Silence())
    going_on = {trial.trial: (trial.generation, trial.epoch) for trial in ledger.state.trials.values()
                if not trial.status.final}  # fmt: skip
    assert going_on == {"t0000": (0, 7), "t0002": (0, 8), "t0005": (2, 6)}
    assert ledger.rules["main"].stage == "pbt"


def test_it_goes_on_with_the_users_own_file_as_well(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which says nothing of fields that were added since."""
    monkeypatch.setattr(driver, "_conduct", lambda spec, *_: spec)
    mine = load_spec(unfinished / "spec.yaml", ["search.trials=7"])
    resumed = cast(SweepSpec, driver.resume(str(unfinished), mine))
    assert (resumed.data.normalize, resumed.train.settings().head, resumed.trials_per_arm) == ("train", "random", 7)


def test_an_unfinished_sweep_of_an_earlier_version_is_resumed_to_its_end(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real training from its checkpoints; this process plays Ray, which has no part in it."""
    folder, before = SweepFolder(unfinished), list(read_journal(unfinished / "journal.jsonl"))
    spec = load_spec(stored_spec(folder))
    history, task = read_history(folder, spec), load_task(spec.data, spec.seed)
    history.check_data(task)
    history.check_weights(None)
    shared = Shared(spec, unfinished, task, {"none": None}, 0.0)
    ledger = recall(spec, folder, history, Silence())
    with open_session(ledger, folder, history, Material(task.fingerprint, None)) as referee:
        train_all(referee, shared, monkeypatch)
        referee.close()
    assert_complete(open_results(unfinished))
    ends = {trial.trial: trial.status for trial in ledger.state.trials.values()}
    assert [name for name, status in ends.items() if status is Status.FINISHED] == ["t0000", "t0002", "t0005"]
    assert {name for name, status in ends.items() if status is Status.STOPPED} == {"t0001", "t0003", "t0004"}
    after = list(read_journal(unfinished / "journal.jsonl"))
    assert repr(after[: len(before)]) == repr(before)
    (resumed,) = [record for record in after if record.get("kind") == "resumed"]
    assert resumed["details"]["extended"] == {}
    assert not [record for record in after if record.get("kind") in ("restored", "retried", "repeated")]
