"""The package: its wheel, which works where there is no checkout, and the oldest versions that it needs."""

import json
import re
import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import CommandLine, command_line
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools packs what an earlier build left in `build/`, removed modules included."""
    if Version(version("setuptools")) < Version("77"):
        pytest.skip("needs setuptools>=77: pip install -e '.[test]'")
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "tlsweep", source / "tlsweep", ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-build-isolation", "--no-deps", "--no-index")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", folder, source], check=True
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment where the wheel is installed.

    What tlsweep needs is lent by the environment of these tests: a `.pth` file adds its folders to the path and does
    not read the `.pth` files in them, so the checkout is not found.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = ("--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    lent = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    assert lent, site.getsitepackages()
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text("\n".join(lent))
    return python


@pytest.fixture
def installed(python: Path, tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as tlsweep:
        yield tlsweep


@pytest.mark.slow
def test_the_wheel_holds_every_module_the_presets_and_the_mark_of_types(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tlsweep/")}
    suffixes = {".py", ".yaml", ".typed", ".css", ".js"}
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tlsweep").rglob("*") if path.suffix in suffixes}
    assert packed == here
    assert {"tlsweep/py.typed", "tlsweep/spec/presets/digits.yaml"} <= packed


@pytest.mark.slow
def test_the_installed_program_answers_without_the_checkout(python: Path, installed: CommandLine) -> None:
    program = (str(python.with_name("tlsweep")),)
    told = installed.run("--version", program=program)
    assert (told.code, told.out, told.err) == (0, f"tlsweep {version('tlsweep')}\n", "")
    presets = installed.run("presets", program=program)
    assert presets.code == 0
    assert "digits" in presets.out
    code = "import json, tlsweep, sys; print(json.dumps([tlsweep.__file__, sorted(sys.modules)]))"
    answer = subprocess.run([python, "-c", code], cwd=installed.cwd, check=True, capture_output=True, text=True)
    file, modules = json.loads(answer.stdout)
    assert Path(file).is_relative_to(python.parents[1])
    assert {"ray", "torch", "numpy", "pydantic", "typer"} & set(modules) == set()


@pytest.mark.slow
def test_the_installed_program_launches_a_sweep(python: Path, installed: CommandLine) -> None:
    small = ("-o", "search.trials=2", "-o", "search.min_epochs=1", "-o", "train.epochs=2", "-o", "controls=[]")
    small += ("-o", "track=tensorboard")
    ended = installed.run("launch", "digits", "--local", *small, program=(str(python.with_name("tlsweep")),))
    assert (ended.code, ended.err) == (0, "")
    assert {"recipe.yaml", "trials.parquet", "best"} <= {path.name for path in (installed.results / "digits").iterdir()}
    # One run for each trial, and that of the sweep, which is written last.
    tracked = installed.results / "digits" / "tensorboard"
    assert sorted(path.name for path in tracked.iterdir()) == ["sweep", "t0000", "t0001"]
    shutil.rmtree(tracked)
    again = installed.run("resume", "digits", "--local", program=(str(python.with_name("tlsweep")),))
    assert (again.code, again.err) == (0, "")
    assert sorted(path.name for path in tracked.iterdir()) == ["sweep", "t0000", "t0001"]  # of a complete sweep, too


def test_the_lowest_versions_that_are_tried_are_those_that_are_asked_for() -> None:
    lines = (ROOT / "tests" / "requirements-lowest.txt").read_text().splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for requirement in map(Requirement, asked):
        lowest = next(part.version for part in requirement.specifier if part.operator == ">=")
        version = tried[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version)
        assert Version(version).release[:2] == (*Version(lowest).release, 0)[:2], requirement


def test_the_lowest_versions_are_plain() -> None:
    """Names and versions: where they come from is for those to say who install them."""
    for line in (ROOT / "tests" / "requirements-lowest.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line), line
