"""The house keeps its order: layers import leftwards only, heavy libraries stay in their rooms, starting is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tlsweep"

# Every room, and what it may know (beside itself, errors, text and files). `cli` and the Python API may know all.
KNOWS = {
    "errors": set(),
    "text": set(),
    "files": set(),
    "allocation": set(),
    "own_code": set(),
    "lean_torchvision": set(),
    "spec": set(),
    "data": {"spec"},
    "models": {"spec"},
    "training": {"spec", "data", "models"},
    "functions": {"spec", "models", "training"},
    "pretrained": {"spec", "data", "models", "training"},
    "store": {"spec"},
    "schedulers": {"spec"},
    "report": {"spec", "store"},
    "inference": {"spec", "data", "models", "training", "store", "report"},
    "observer": {"spec", "store"},
    "tracking": {"spec", "store", "observer"},
    "cluster": {"spec", "data", "store", "observer"},
    "sweep": {
        *("spec", "data", "models", "training", "functions", "pretrained", "store"),
        *("schedulers", "report", "observer", "tracking", "cluster"),
    },
    "jobs": {"spec", "store", "observer", "cluster"},
    "planning": {
        *("spec", "data", "models", "training", "functions", "pretrained", "store"),
        *("observer", "tracking", "cluster", "sweep"),
    },
    "terminal": {"spec", "store", "report", "inference", "observer", "planning", "jobs"},
}

# Libraries with one home; the value is where they may be imported.
FENCES = {
    "ray": ("sweep/", "cluster/", "jobs/"),
    "torch": (
        "data/",
        "models/",
        "training/",
        "functions/",
        "pretrained/",
        "inference/",
        "planning/",
        "sweep/trainable.py",
    ),
    "torchvision": ("data/", "models/", "training/"),
    "pyarrow": ("store/",),
    "plotly": ("report/figures/",),
    "tensorboardX": ("tracking/",),
    "mlflow": ("tracking/",),
    "wandb": ("tracking/",),
    "rich": ("terminal/", "cli/"),
    "typer": ("cli/",),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, *, of_types: bool) -> Iterator[str]:
    """Names of imported modules; those only for type checkers if `of_types`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if not of_types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(inner for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_a_module_imports_only_from_rooms_before_it(path: Path) -> None:
    room = relative(path).split("/")[0].removesuffix(".py")
    if room not in KNOWS:
        assert room in {"cli", "__main__", "__init__"}, f"{room} is no room of the house"
        return
    allowed = KNOWS[room] | {room, "errors", "text", "files", "allocation", "own_code", "lean_torchvision"}
    for name in imports(path, of_types=True):
        parts = name.split(".")
        if parts[0] == "tlsweep" and len(parts) > 1:
            assert parts[1] in allowed, f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_heavy_libraries_stay_behind_their_fences(path: Path) -> None:
    for name in imports(path, of_types=False):
        homes = FENCES.get(name.split(".")[0])
        assert homes is None or relative(path).startswith(homes), f"{relative(path)} imports {name}"


def test_the_rules_of_the_schedulers_know_nothing_of_ray() -> None:
    code = "import sys, tlsweep.schedulers; assert 'ray' not in sys.modules, 'ray'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['tlsweep', '--help']\n"
        "try:\n    import runpy; runpy.run_module('tlsweep', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([name for name in ('ray', 'torch', 'torchvision', 'pyarrow', 'pandas', 'numpy', 'pydantic', 'sklearn')"
        " if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"
    assert "launch" in found.stdout


def test_nothing_is_unpickled_from_disk() -> None:
    """torch.load only with weights_only, numpy without pickle, YAML with a safe loader."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            call, text = ast.unparse(node.func), ast.unparse(node)
            assert not call.startswith(("pickle.", "cloudpickle.", "joblib.")), f"{relative(path)}: {text}"
            if call == "torch.load":
                assert "weights_only=True" in text, f"{relative(path)}: {text}"
            if call == "np.load":
                assert "allow_pickle=True" not in text, f"{relative(path)}: {text}"
            if call == "yaml.load":
                assert "_Loader" in text, f"{relative(path)}: {text}"


def test_files_are_rooms_not_halls() -> None:
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{relative(path)} has {lines} lines"
