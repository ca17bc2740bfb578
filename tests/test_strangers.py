"""Whatever others hand over, images, weights, results or a model: nothing outside the sweep's folder changes."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import forge_journal
from command_line import CommandLine, command_line
from users_files import write_images

from tlsweep.errors import ResultsError

PLAIN = ["-o", "model.weights=none", "-o", "controls=[]", "-o", "train.batch_size=8", "-o", "train.epochs=2"]
ASHA = ["-o", "search.strategy=asha", "-o", "search.trials=4", "-o", "search.min_epochs=1"]
PRIVATE = ("--local", "--no-dashboard")
FOLDER = ["-o", "data.path=images", "-o", "data.image_size=32", "-o", "data.on_bad_image=skip", "-o", "model.name=cnn"]


@pytest.fixture
def tlsweep(tmp_path: Path) -> Iterator[CommandLine]:
    """A home with files that matter, a working directory in it, and a sweep that somebody else finished there."""
    (tmp_path / "work").mkdir()
    for name in ("keys", ".bashrc", "photos/1.jpg", "photos/2.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"mine: {name}")
    with command_line(tmp_path / "work") as one:
        one.environment = {"HOME": str(tmp_path)}
        made = one.run("launch", "digits", *PLAIN, *ASHA, *PRIVATE, "--name", "given")
        assert (made.code, made.err) == (0, "")
        yield one


def everything_but(home: Path, results: Path) -> dict[str, tuple[int, float, bytes]]:
    """Mode, time of the last change and content of every file below `home` but in sweeps; links as links."""
    found = {}
    for path in sorted(home.rglob("*")):
        if path.is_symlink() or (path.is_file() and not path.is_relative_to(results)):
            state = path.lstat()
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(home))] = (state.st_mode, state.st_mtime, content)
    return found


def stopped_checkpoint_elsewhere(sweep: Path, home: Path) -> None:
    def point_at_keys(record: dict[str, object]) -> None:
        if record.get("checkpoint"):
            record["checkpoint"] = str(home / "keys")

    forge_journal(sweep / "journal.jsonl", point_at_keys)


def trial_elsewhere(sweep: Path, home: Path) -> None:
    def rename(record: dict[str, object]) -> None:
        if record.get("trial") == "t0001":
            record["trial"] = "../../../photos"

    forge_journal(sweep / "journal.jsonl", rename)


def checkpoints_elsewhere(sweep: Path, home: Path) -> None:
    shutil.rmtree(sweep / "checkpoints")
    (sweep / "checkpoints").symlink_to(home / "photos")


def lock_elsewhere(sweep: Path, home: Path) -> None:
    (sweep / ".lock").unlink(missing_ok=True)
    (sweep / ".lock").symlink_to(home / ".bashrc")


def best_elsewhere(sweep: Path, home: Path) -> None:
    shutil.rmtree(sweep / "best")
    (sweep / "best").symlink_to(home / "photos")


def log_elsewhere(sweep: Path, home: Path) -> None:
    (sweep / "ray.log").unlink(missing_ok=True)
    (sweep / "ray.log").symlink_to(home / ".bashrc")


ATTACKS = [
    stopped_checkpoint_elsewhere, trial_elsewhere, checkpoints_elsewhere, lock_elsewhere, best_elsewhere, log_elsewhere,
]  # fmt: skip


@pytest.mark.slow
def test_a_strangers_things_are_used_and_nothing_of_ones_own_changes(tlsweep: CommandLine, tmp_path: Path) -> None:
    for attack in ATTACKS:
        sweep = tlsweep.results / attack.__name__
        shutil.copytree(tlsweep.results / "given", sweep)
        (sweep / "recipe.yaml").unlink()
        attack(sweep, tmp_path)
    _hostile_images(tlsweep.cwd / "images", tmp_path)
    _hostile_weights(tlsweep.cwd / "theirs.pth", tmp_path / "pwned")
    (tlsweep.results / "given/checkpoints/notes.txt").write_text("mine")
    before = everything_but(tmp_path, tlsweep.results)

    _refused_in_one_line(tlsweep)
    assert tlsweep.run("check", "folder", *FOLDER, *PLAIN, "-o", "search.min_epochs=1").code == 0
    weights = tlsweep.run("check", "digits", "-o", "model.name=resnet18", "-o", "model.weights=theirs.pth")
    assert weights.code == 2
    assert weights.err.startswith("error: ")
    (tlsweep.results / "given/recipe.yaml").unlink()  # so that the resume has something to do
    for words in (["report", "given"], ["best", "given"], ["resume", "given", *PRIVATE]):
        ended = tlsweep.run(*words)
        assert (ended.code, ended.err) == (0, ""), words
    _model_that_runs_a_command(tlsweep.results / "given/best", tmp_path / "pwned")

    assert everything_but(tmp_path, tlsweep.results) == before
    assert (tlsweep.results / "given/checkpoints/notes.txt").read_text() == "mine"


def _refused_in_one_line(tlsweep: CommandLine) -> None:
    for attack in ATTACKS:
        ended = tlsweep.run("resume", attack.__name__, *PRIVATE)
        assert ended.code == 2, attack.__name__
        assert ended.err.startswith("error: "), ended.err
        assert "Traceback" not in ended.err


def _hostile_images(folder: Path, home: Path) -> None:
    write_images(folder, cat=12, dog=12)
    (folder / "cat/program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(pwned) (w) file\n")
    os.mkfifo(folder / "cat/waits.jpg")
    (folder / "dog/again").symlink_to(".")
    (folder / "dog/theirs.jpg").symlink_to(home / "photos/1.jpg")


class _Runs:
    """Unpickled, it runs a command."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> "tuple[Callable[[str], int], tuple[str]]":
        return os.system, (f"touch {self._trace}",)


def _hostile_weights(path: Path, trace: Path) -> None:
    path.write_bytes(pickle.dumps({"conv1.weight": _Runs(trace)}))


def _model_that_runs_a_command(best: Path, trace: Path) -> None:
    from tlsweep.training import load_exported

    model = json.loads((best / "model.json").read_text())
    model |= {"name": "subprocess:Popen", "args": {"args": ["touch", str(trace)]}}
    (best / "model.json").write_text(json.dumps(model))
    with pytest.raises(ResultsError, match="own_code=True"):
        load_exported(best)
