"""The README is true: its commands are the ones that CI runs, its tree is the tree, its fields are the fields.

`python tests/test_readme.py` writes the generated parts anew.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from tlsweep.cli import app
from tlsweep.spec import (
    AshaSearch,
    Augment,
    Budget,
    DigitsData,
    Faults,
    FolderData,
    GridSearch,
    Hyperparameters,
    ModelSpec,
    Pb2Search,
    PbtSearch,
    PythonData,
    RandomSearch,
    Resources,
    SourceTask,
    SweepSpec,
    TorchvisionData,
    TrainSettings,
    load_spec,
    presets,
)  # fmt: skip
from tlsweep.spec.study import Study

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ROOMS = ("spec", "data", "models", "training", "store", "schedulers", "report", "sweep", "terminal", "cli")
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "": (SweepSpec,),
    "data": (FolderData, DigitsData, TorchvisionData, PythonData),
    "data.augment": (Augment,),
    "model": (ModelSpec,),
    "model.weights": (SourceTask,),
    "train": (TrainSettings, Hyperparameters),
    "search": (RandomSearch, GridSearch, AshaSearch, PbtSearch, Pb2Search),
    "budget": (Budget,),
    "resources": (Resources,),
    "faults": (Faults,),
    "study": (Study,),
}


def tree() -> str:
    """Every room with what it is for and the modules in it."""
    lines = ["tlsweep/"]
    for room in ROOMS:
        folder = ROOT / "tlsweep" / room
        doc = (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").splitlines()[0]
        lines.append(f"  {room + '/':12}{doc}")
        names = sorted(path.stem for path in folder.rglob("*.py") if path.stem != "__init__")
        names += ["presets/*.yaml"] if room == "spec" else []
        line = ""
        for name in names:
            if len(line) + len(name) > 96:
                lines.append(f"              {line.strip()}")
                line = ""
            line += f"{name} "
        lines.append(f"              {line.strip()}")
    lines += ["  errors.py   every exception, in one tree"]
    lines += ["cluster/      what a cluster needs", "results/      where sweeps write; reference sweeps"]
    lines += ["tests/        mirrors tlsweep/; bench/ measures"]
    return "```\n" + "\n".join(lines) + "\n```"


def fields() -> str:
    """Every field of the spec with its default and its documentation."""
    rows = ["| field | default | meaning |", "|---|---|---|"]
    for section, models in SECTIONS.items():
        seen: dict[tuple[str, str], list[str]] = {}
        for model in models:
            for name, field in model.model_fields.items():
                default = "–" if field.is_required() else _plain(field.default)
                text = " ".join((field.description or "").split())
                variant = model.__name__.removesuffix("Data").removesuffix("Search").lower()
                seen.setdefault((name, f"{default} | {text}"), []).append(variant)
        for (name, rest), variants in seen.items():
            only = f" ({', '.join(variants)})" if section in ("data", "search") and len(variants) < len(models) else ""
            rows.append(f"| `{section + '.' if section else ''}{name}`{only} | {rest} |")
    return "\n".join(rows)


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        shown = value.model_dump(mode="json", exclude_defaults=not isinstance(value, Augment))
        return f"`{yaml.safe_dump(shown, default_flow_style=True, width=1000).strip()}`" if shown else ""
    if value is None:
        return "none"
    shown = str(list(value) if isinstance(value, tuple) else value)
    return f"`{shown.lower() if isinstance(value, bool) else shown}`"


def preset_table() -> str:
    """What each preset's own head says."""
    rows = ["| preset | what, and what was measured |", "|---|---|"]
    for name, text in presets().items():
        head = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        words = " ".join(line for line in head if not line.startswith("tlsweep "))
        rows.append(f"| `{name}` | {words} |")
    return "\n".join(rows)


GENERATED = {"tree": tree, "fields": fields, "presets": preset_table}


def section(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"README has no section {name}"
    return found[1]


@pytest.mark.parametrize("name", GENERATED)
def test_generated_parts_are_up_to_date(name: str) -> None:
    assert section(name) == GENERATED[name](), "run python tests/test_readme.py"


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_ci_runs_the_test_command_to_the_letter() -> None:
    test_command = next(line for line in commands() if line.endswith("-m pytest"))
    assert test_command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_every_command_in_the_readme_exists() -> None:
    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    used = {match for line in commands() for match in re.findall(r"tlsweep (?!presets folder >)([a-z]+)", line)}
    assert used
    assert used <= verbs
    assert verbs <= set(re.findall(r"[a-z]+", README.read_text()))


def test_python_blocks_compile_and_their_names_exist() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                names = ", ".join(alias.name for alias in node.names)
                subprocess.run([sys.executable, "-c", f"from {node.module} import {names}"], check=True)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tlsweep":
                import tlsweep

                assert hasattr(tlsweep, node.attr)


def test_yaml_blocks_are_valid_specs() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        base = {"data": {"source": "digits"}, "search": {"strategy": "random"}}
        file = yaml.safe_dump(base) + block
        from tlsweep.spec.loading import _parse

        assert load_spec(_parse(file, "README")).space


def test_links_and_paths_in_the_readme_exist() -> None:
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r"`((?:tlsweep|tests|cluster)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), target


if __name__ == "__main__":
    readme = README.read_text(encoding="utf-8")
    for name, make in GENERATED.items():
        pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->|@{name.upper()}@", re.DOTALL)
        readme = pattern.sub(lambda _, name=name, make=make: f"<!-- {name} -->\n{make()}\n<!-- /{name} -->", readme)
    README.write_text(readme, encoding="utf-8")
