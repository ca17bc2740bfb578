"""Doing what a README's section "To add …" says, in a copy of tlsweep."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Addition:
    """A copy of tlsweep to which something was added."""

    folder: Path
    files: tuple[str, ...]
    """Those that were changed or are new."""

    def python(self, code: str) -> str:
        """What a program prints that uses the copy."""
        return self._run("-c", code)

    def tlsweep(self, *arguments: str) -> str:
        """What the copy's program prints."""
        return self._run("-m", "tlsweep", *arguments)

    def pytest(self, room: str, *arguments: str) -> str:
        """What the checkout's tests of a room print when they test the copy."""
        config = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-p", "no:cacheprovider", "-q")
        return self._run("-m", "pytest", *config, str(ROOT / "tests" / room), *arguments)

    def _run(self, *arguments: str) -> str:
        # The working directory is the first place where Python looks for modules.
        command = [sys.executable, *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        ended = subprocess.run(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout


def section(readme: Path, title: str) -> str:
    """The text below a heading, up to the next."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", readme.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{readme} has no section '{title}'"
    return found[1]


def add(readme: Path, title: str, folder: Path) -> Addition:
    """Copy tlsweep into a folder and change it as the section's blocks marked `diff` say.

    `--- file` names a file that is changed, `+++ file` a new one. Of a file that is changed, a line that begins with a
    space must be in it once: what begins with + is added below it, or above the first if it stands there.
    """
    shutil.copytree(ROOT / "tlsweep", folder / "tlsweep", ignore=shutil.ignore_patterns("__pycache__"))
    texts: dict[str, list[str]] = {}
    for block in re.findall(r"^```diff\n(.*?)^```", section(readme, title), re.DOTALL | re.MULTILINE):
        for kind, name, change in re.findall(
            r"^(---|\+\+\+) (\S+)\n(.*?)(?=^--- |^\+\+\+ |\Z)", block, re.DOTALL | re.MULTILINE
        ):
            path = folder / name
            assert path.exists() is (kind == "---"), path
            known = path.read_text().splitlines() if path.exists() else []
            _change(texts.setdefault(name, known), change.splitlines())
    for name, text in texts.items():
        (folder / name).write_text("\n".join(text) + "\n")
    return Addition(folder, tuple(texts))


def _change(text: list[str], change: list[str]) -> None:
    first = next((at for at, line in enumerate(change) if line.startswith(" ")), len(change))
    position = _where(text, change[first]) if first < len(change) else 0
    for line in change:
        if line.startswith("+"):
            text.insert(position, line[1:])
            position += 1
        else:
            position = _where(text, line) + 1


def _where(text: list[str], line: str) -> int:
    assert text.count(line[1:]) == 1, f"'{line[1:]}' is {text.count(line[1:])} times in the file"
    return text.index(line[1:])
