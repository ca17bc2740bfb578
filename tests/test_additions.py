"""What the rooms' READMEs say on adding something is enough, and as little as they say."""

from pathlib import Path

import pytest
from additions import ROOT, add
from builders import make_sweep


@pytest.mark.slow
def test_an_optimizer_is_added_in_two_files_and_tested_without_a_new_test(tmp_path: Path) -> None:
    added = add(ROOT / "tlsweep/training/README.md", "To add an optimizer", tmp_path)
    assert len(added.files) <= 2
    told = added.pytest("training/optimization/test_optimizers.py", "-k", "rmsprop")
    assert "test_" not in told
    assert "passed" in told
    described = "from tlsweep.spec import TrainSpec; print(TrainSpec.model_fields['optimizer'].description)"
    assert "`rmsprop`" in added.python(described)


def test_a_source_is_added_in_three_files_and_can_be_swept_over(tmp_path: Path) -> None:
    added = add(ROOT / "tlsweep/data/README.md", "To add a source", tmp_path)
    assert len(added.files) <= 3
    assert "passed" in added.pytest("data/test_sources.py", "-k", "StripesData")
    spec = "data: {source: stripes}\nmodel: {name: cnn}\ntrain: {lr: {loguniform: [1e-4, 1e-1]}}\n"
    (tmp_path / "stripes.yaml").write_text(spec + "search: {strategy: random, trials: 2}\n")
    told = added.tlsweep("check", "stripes.yaml")
    assert "lying, standing" in told


def test_a_scheduler_is_added_in_three_files_and_stops_trials(tmp_path: Path) -> None:
    added = add(ROOT / "tlsweep/schedulers/README.md", "To add a scheduler", tmp_path)
    assert len(added.files) <= 3
    told = added.python(
        f"import sys; sys.path.append({str(ROOT / 'tests/support')!r})\n"
        "from collections import Counter\n"
        "from pathlib import Path\n"
        "from simulated_sweep import SimulatedSweep\n"
        "search = 'search={strategy: floor, trials: 6, at_epoch: 2}'\n"
        "trials = SimulatedSweep(Path('simulated').resolve(), search).launch().trials.values()\n"
        "print(sorted({(str(trial.status), trial.epoch) for trial in trials}))\n"
    )
    assert told == "[('finished', 4), ('stopped', 2)]\n"


def test_a_picture_is_added_in_three_files(tmp_path: Path) -> None:
    added = add(ROOT / "tlsweep/report/README.md", "To add a picture", tmp_path)
    assert len(added.files) <= 3
    make_sweep(tmp_path / "results", "digits")
    told = added.tlsweep("report", "digits")
    assert "Seconds an epoch\nbatch 16 " in told


def test_a_verb_is_added_in_two_files(tmp_path: Path) -> None:
    added = add(ROOT / "tlsweep/cli/README.md", "To add a verb", tmp_path)
    assert len(added.files) <= 2
    make_sweep(tmp_path / "results", "digits")
    assert "List the files of a sweep." in added.tlsweep("--help")
    assert "reports.parquet" in added.tlsweep("files", "digits").splitlines()
