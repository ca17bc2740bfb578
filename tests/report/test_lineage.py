"""Lineage: the chain of exploits, followed back."""

import random
from pathlib import Path

import pytest
from builders import SweepBuilder, make_sweep

from tlsweep.report import lineage, load_tables
from tlsweep.store import read_journal


def test_an_exploit_of_an_exploit_is_followed_back_to_the_first_epoch(tmp_path: Path) -> None:
    tables = load_tables(make_sweep(tmp_path))
    segments = lineage(tables.events, "t0001", 1, 4)
    assert [(one.from_epoch, one.to_epoch, one.trial, one.generation) for one in segments] == [
        (0, 1, "t0000", 0), (1, 2, "t0002", 1), (2, 4, "t0001", 1),
    ]  # fmt: skip
    assert [one.hyperparameters["lr"] for one in segments] == [0.01, 0.0125, 0.01]
    assert [one.hyperparameters["batch_size"] for one in segments] == [32, 32, 64]


def test_an_earlier_generation_has_its_own_lineage(tmp_path: Path) -> None:
    tables = load_tables(make_sweep(tmp_path))
    (only,) = lineage(tables.events, "t0001", 0, 2)
    assert (only.trial, only.from_epoch, only.to_epoch) == ("t0001", 0, 2)
    assert only.hyperparameters["lr"] == 0.1


@pytest.mark.parametrize("seed", range(8))
def test_segments_are_what_the_weights_went_through(tmp_path: Path, seed: int) -> None:
    """Simulated weights remember who trained each of their epochs, under which lr."""
    rng = random.Random(seed)
    builder = SweepBuilder(tmp_path)
    weights: dict[str, list[tuple[str, float]]] = {}
    for number in range(4):
        builder.create(f"t{number}", number, lr=rng.uniform(0.01, 0.1))
        weights[f"t{number}"] = []
    for _ in range(60):
        trial, donor = rng.sample(sorted(weights), 2)
        if rng.random() < 0.3:
            # May copy a member that has not trained since its own exploit, and from an epoch behind its own.
            builder.exploit(trial, donor, len(weights[donor]), lr=rng.uniform(0.01, 0.1))
            weights[trial] = list(weights[donor])
        else:
            builder.report(trial, rng.random())
            weights[trial].append((trial, builder.state.trials[trial].hyperparameters["lr"]))  # type: ignore[arg-type]
    events = [record for record in read_journal(builder.write_journal().folder.journal) if record["type"] == "event"]
    for trial, history in weights.items():
        one = builder.state.trials[trial]
        segments = lineage(events, trial, one.generation, one.epoch)
        told = [(s.trial, s.hyperparameters["lr"]) for s in segments for _ in range(s.to_epoch - s.from_epoch)]
        assert told == history
