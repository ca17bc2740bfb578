"""The program in this process, as its entry calls it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tlsweep.cli import main

Run = Callable[..., tuple[int, str, str]]
"""`tlsweep ...`: exit code, standard output, standard error."""


def run_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run it in a folder, from now on."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tlsweep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err  # type: ignore[return-value]

    return run
