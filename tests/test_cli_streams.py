"""Wherever tlsweep prints to, or cannot: one line where a mistake is, the documented exit code, and no traceback."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from builders import make_sweep

from tlsweep.spec import presets

PROGRAM = f"{sys.executable} -m tlsweep"
LAUNCH = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent / "support")!r})
from pathlib import Path
from builders import make_sweep
import tlsweep.sweep
def launch(spec, *, observer, **where):
    for number in range(3000):  # more than a pipe holds
        observer.phase(f"reading images for the time number {{number}}")
    return make_sweep(Path("results"), "launched")
tlsweep.sweep.launch = launch
sys.argv = ["tlsweep", "launch", "digits"]
from tlsweep.__main__ import run
run()
"""
ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FULL = "error: cannot write to standard output: No space left on device; name a file or terminal that can be\n"
CLOSED = "error: cannot write to standard output: it is closed; name a file or terminal that can be\n"
NO_SWEEP = "error: there is no sweep 'other' in 'results'; there are: demo; --results names another folder of sweeps\n"
NO_FOLDER = "error: the working directory cannot be used (No such file or directory); change into one that exists\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    make_sweep(folder / "results")
    (folder / "launch.py").write_text(LAUNCH)
    return folder


def shell(command: str, folder: Path, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code (of the first command that failed in a pipe), standard output, standard error."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("tlsweep", PROGRAM, 1)],
        cwd=folder, env={**os.environ, "PYTHONPATH": "", **(environment or {})}, capture_output=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("command", "environment", "code", "err"),
    [
        ("tlsweep report demo > /dev/full", {}, 2, FULL),
        ("tlsweep best demo --json > /dev/full", {}, 2, FULL),
        ("tlsweep presets digits > /dev/full", {}, 2, FULL),
        ("tlsweep report demo >&-", {}, 2, CLOSED),
        ("tlsweep report demo >&- <&-", {}, 2, CLOSED),
        ("tlsweep report demo 2>&- | head -n 1", {}, 0, ""),
        ("tlsweep report demo | head -n 1", {}, 0, ""),
        ("tlsweep presets | true", {}, 0, ""),
        ("tlsweep best other", {}, 2, NO_SWEEP),
        ("tlsweep best other 2> /dev/full", {}, 2, ""),
        ("tlsweep best other <&- >&- 2>&-", {}, 2, ""),
        ("tlsweep report demo", ASCII, 0, ""),
        ("tlsweep report demo", C_LOCALE, 0, ""),
        ("tlsweep presets digits > /dev/null", ASCII, 0, ""),
        ("tlsweep --help", {"TERM": "dumb", "COLUMNS": "1", "NO_COLOR": "1"}, 0, ""),
        ("tlsweep report demo", {"TERM": "", "COLUMNS": "0"}, 0, ""),
        ("env -i tlsweep report demo", {}, 0, ""),
        ("mkdir gone && cd gone && rmdir ../gone && tlsweep report demo", {}, 2, NO_FOLDER),
    ],
)
def test_the_exit_code_is_as_documented_and_no_traceback_is_seen(
    folder: Path, command: str, environment: Mapping[str, str], code: int, err: str
) -> None:
    found, out, said = shell(command, folder, environment)
    assert (found, said) == (code, err)
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("| head -n 1", "standard output is lost (Broken pipe); going on without it\n"),
        ("> /dev/full", "standard output is lost (No space left on device); going on without it\n"),
        (">&-", ""),
        (">&- 2>&-", ""),
    ],
)
def test_a_sweep_goes_on_without_its_output_and_says_so_once(tmp_path: Path, output: str, told: str) -> None:
    (tmp_path / "launch.py").write_text(LAUNCH)
    code, _, err = shell(f"{sys.executable} launch.py {output}", tmp_path)
    assert (code, err) == (0, told)
    assert (tmp_path / "results" / "launched" / "trials.parquet").exists()


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (ASCII, "search    pbt: 4 members x 4 epochs x 2 arms (main, scratch), seed 0"),
        (C_LOCALE, "search    pbt: 4 members x 4 epochs x 2 arms (main, scratch), seed 0"),
        ({"PYTHONIOENCODING": "utf-8"}, "search    pbt: 4 members × 4 epochs × 2 arms (main, scratch), seed 0"),
    ],
)
def test_signs_that_an_encoding_lacks_have_others_in_their_place(
    folder: Path, environment: Mapping[str, str], line: str
) -> None:
    _, out, _ = shell("tlsweep report demo", folder, environment)
    assert line in map(str.rstrip, out.splitlines())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_preset_makes_a_spec_whatever_the_encoding(folder: Path, encoding: str) -> None:
    file = folder / f"{encoding}.yaml"
    assert shell(f"tlsweep presets digits > {file}", folder, {"PYTHONIOENCODING": encoding})[0] == 0
    assert file.read_text(encoding="utf-8") == presets()["digits"]
    assert yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("size", [{"COLUMNS": "0"}, {"COLUMNS": "1", "LINES": "1"}, {"COLUMNS": "0", "TERM": "dumb"}])
def test_a_terminal_whose_size_is_said_to_be_nothing_shows_everything(folder: Path, size: Mapping[str, str]) -> None:
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "tlsweep", "best", "demo"]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **size}, stdout=terminal) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # so ends what was written to a terminal that is closed
            while part := os.read(main, 10_000):
                shown += part
        os.close(main)
    assert process.returncode == 0
    assert b"t0001, at epoch 4" in shown
