"""The tables of a sweep that is written now and then are those of one that is written once, at its end."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder

from tlsweep.errors import ResultsError
from tlsweep.store.tables import TableWriter, growing, read_table

TABLES = ("reports", "events", "trials", "schedule")


class Life:
    """A population with everything that changes rows which are there already: copies, resumes, repeated epochs."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.builder, self.chance = SweepBuilder(folder), chance
        for number in range(4):
            self.builder.create(f"t{number:04d}", number, lr=10 ** -chance.uniform(1, 4))

    def step(self) -> None:
        builder, chance = self.builder, self.chance
        trial, donor = chance.sample(list(builder.state.trials.values()), 2)
        if trial.status.final:
            reopened = [name for name in builder.state.trials if chance.random() < 0.5]
            builder.event("resumed", None, arm=None, reopened=reopened, spec={}, data="", weights=None)
        elif donor.last and chance.random() < 0.2:
            lr = chance.choice([donor.hyperparameters["lr"], 0.5])
            copied = builder.exploit(trial.trial, donor.trial, donor.epoch, lr=lr)
            if chance.random() < 0.5:  # as earlier versions, of which what the donor has reached must be found
                del copied["details"]["donor_score"]
            builder.event("perturbed", trial.trial, lr={"from": 1, "to": 0.5})
        elif trial.last and chance.random() < 0.2:
            kept = {"checkpoint": f"checkpoints/{trial.trial}/g0-e0001-00000000.pt", "digest": "0" * 64}
            builder.event("repeated", trial.trial, **kept)
        elif chance.random() < 0.1:
            builder.event("stopped", trial.trial, reason="why not")
        else:
            builder.report(trial.trial, chance.choice([chance.random(), float("nan")]))


@pytest.mark.parametrize("seed", range(6))
def test_it_does_not_matter_when_tables_were_written(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "GROUP", 11)
    life, chance = Life(tmp_path / "sweep", random.Random(seed)), random.Random(seed)
    folder, told = life.builder.folder.path, 0
    assert isinstance(folder, Path)
    often = TableWriter(folder, "demo")
    for _ in range(80):
        life.step()
        if chance.random() < 0.2:
            often.add(life.builder.records[told:])
            told = len(life.builder.records)
            often.write(life.builder.state)
        if (best := chance.choice(list(life.builder.state.trials.values())).best) and chance.random() < 0.5:
            kept = folder / best["checkpoint"]  # which retention writes, or removes
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.unlink() if kept.exists() else kept.touch()
    often.add(life.builder.records[told:])
    often.write(life.builder.state)
    before = {table: (folder / f"{table}.parquet").read_bytes() for table in TABLES}
    once = TableWriter(folder, "demo")
    once.add(life.builder.records)
    once.write(life.builder.state)
    for table in TABLES:
        assert (folder / f"{table}.parquet").read_bytes() == before[table], table
    assert read_table(folder, "reports").num_rows == life.builder.state.reports
    kept = {trial.trial: trial.best["checkpoint"] for trial in life.builder.state.trials.values() if trial.best}
    rows = read_table(folder, "trials").select(["trial", "checkpoint"]).to_pylist()
    assert {row["trial"]: row["checkpoint"] for row in rows if row["checkpoint"]} == {
        trial: file for trial, file in kept.items() if (folder / file).exists()
    }


def test_a_disk_without_room_for_what_is_kept_aside_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(growing, "_BATCH", 1)
    monkeypatch.setattr(growing, "GROUP", 2)
    builder = SweepBuilder(tmp_path)
    builder.create("t0000", 0)
    builder.report("t0000", 0.5)
    writer = TableWriter(builder.folder.path, "demo")
    writer.add(builder.records)
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    with pytest.raises(ResultsError, match=r"cannot write '/.*': No space left on device; put that right.*resume demo"):
        writer.add([builder.report("t0000", 0.6)])
