"""What a job takes along: the spec, the user's own modules or a folder, no junk, no more than Ray takes."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from builders import make_spec

from tlsweep.errors import ResourceError, SpecError
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.sweep import shipping
from tlsweep.sweep.shipping import SPEC_FILE, pack


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the user's own code, which fails when it is imported."""
    folder = tmp_path / "work"
    for name in ("own_net.py", "pictures/__init__.py", "pictures/flowers/find.py", "pictures/__pycache__/find.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def packed(folder: Path, spec: SweepSpec | None, code: Path | None = None) -> dict[str, bytes]:
    pack(folder / "code.zip", spec, code)
    with ZipFile(folder / "code.zip") as package:
        return {name: package.read(name) for name in package.namelist()}


def test_modules_that_the_spec_names_are_shipped_without_being_imported(tmp_path: Path, here: Path) -> None:
    data = {"source": "python", "function": "pictures.flowers.find:flowers"}
    spec = make_spec(
        data={"source": "digits"},
        model={"name": "own_net:network", "weights": {"data": data}},
    )
    found = packed(tmp_path, spec)
    assert set(found) == {SPEC_FILE, "own_net.py", "pictures/__init__.py", "pictures/flowers/find.py"}
    (tmp_path / SPEC_FILE).write_bytes(found[SPEC_FILE])
    assert load_spec(tmp_path / SPEC_FILE) == spec


def test_installed_modules_are_not_shipped(tmp_path: Path) -> None:
    assert set(packed(tmp_path, make_spec(model={"name": "torchvision.models:resnet18"}, controls=[]))) == {SPEC_FILE}


def test_a_module_that_is_not_here_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="model.name 'absent.nets:tiny': there is no module 'absent'"):
        packed(tmp_path, make_spec(model={"name": "absent.nets:tiny"}, controls=[]))


def test_a_path_that_only_holds_here_is_told_before_anything_is_sent(tmp_path: Path, here: Path) -> None:
    spec = make_spec(data={"source": "folder", "path": "pictures"})
    with pytest.raises(SpecError, match="data.path = 'pictures': a job on a cluster does not start where you are"):
        packed(tmp_path, spec)
    assert SPEC_FILE in packed(tmp_path, spec, code=here)


@pytest.mark.parametrize("under_git", [True, False])
def test_a_folder_is_shipped_without_junk(tmp_path: Path, here: Path, under_git: bool) -> None:
    junk = [".venv/pyvenv.cfg", ".venv/lib/torch.py", "results/digits/journal.jsonl", ".mypy_cache/x", ".git/config"]
    for name in [*junk, "pictures/results/table.py"]:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x")
    if under_git:
        (here / ".git/config").unlink()
        (here / ".gitignore").write_text(".venv\nown_net.py\n")
        subprocess.run(["git", "init", "-q", here], check=True)
    expected = {"pictures/__init__.py", "pictures/flowers/find.py", "pictures/results/table.py"}
    expected |= {".gitignore"} if under_git else {"own_net.py"}
    assert set(packed(tmp_path, None, here)) == expected


def test_a_folder_that_is_too_large_is_refused(tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "LIMIT", 1024**2)
    noise = subprocess.run([sys.executable, "-c", "import os; os.write(1, os.urandom(1 << 20))"], capture_output=True)
    (here / "images.bin").write_bytes(noise.stdout * 2)
    with pytest.raises(ResourceError, match=r"4 files with 2 MB, the largest is 'images.bin'; packed, Ray takes 1 MB"):
        packed(tmp_path, None, here)
    with pytest.raises(ResourceError, match="there is no such folder"):
        packed(tmp_path, None, here / "absent")
