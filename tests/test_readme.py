"""The READMEs are true: their commands are the program's, their links lead somewhere, and the map is the package.

`python tests/test_readme.py` writes the map again.
"""

import ast
import functools
import importlib.util
import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from tlsweep.cli import app
from tlsweep.spec import load_spec
from tlsweep.spec.loading import read_stored
from tlsweep.store.schema import TABLES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOLDERS = ("tlsweep", "cluster", "results", "tests")
READMES = [README, *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("README.md")))]
ROOMS = (
    "spec", "data", "models", "training", "functions", "pretrained", "store", "schedulers", "report", "inference",
    "tracking", "cluster", "sweep", "jobs", "planning", "terminal", "cli",
)  # fmt: skip
"""The rooms from left to right."""
BESIDE = {
    "cluster": "Files that start a cluster: ssh, Slurm, Kubernetes, AWS, Google Cloud; metrics; the threat model.",
    "results": "Where sweeps write, and the reference sweeps with what they reached.",
    "tests": "Tests, which mirror `tlsweep/`; `tests/bench/` measures.",
}

every_readme = pytest.mark.parametrize("path", READMES, ids=lambda path: path.relative_to(ROOT).parent.as_posix())


def the_map() -> str:
    """Make a table with one line for each room, from the first paragraph of its docstring."""
    meanings = {f"tlsweep/{room}": _first_paragraph(ROOT / "tlsweep" / room / "__init__.py") for room in ROOMS}
    rows = [f"| [`{folder}/`]({folder}) | {meaning} |" for folder, meaning in (meanings | BESIDE).items()]
    return "\n".join(["| room | what lives there |", "|---|---|", *rows])


def _first_paragraph(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(path: Path) -> list[str]:
    """Return the lines of the shell blocks, continued ones joined, without comments."""
    lines = [line for block in blocks(path, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [line.split("  #")[0].split("   #")[0].strip() for line in lines if line.strip()]


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_main_readme_is_read_to_its_end() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 250


def test_the_map_is_the_package() -> None:
    assert {path.parent.name for path in (ROOT / "tlsweep").glob("*/__init__.py")} == set(ROOMS)
    assert f"<!-- map -->\n{the_map()}\n<!-- /map -->" in README.read_text(encoding="utf-8"), (
        "python tests/test_readme.py"
    )


def test_ci_runs_the_test_command_to_the_letter() -> None:
    test_command = next(line for line in commands(README) if "-m pytest" in line)
    assert test_command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_main_readme_names_every_verb() -> None:
    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert verbs <= set(re.findall(r"tlsweep ([a-z]+)", README.read_text(encoding="utf-8")))


@every_readme
def test_commands_and_their_options_exist(path: Path) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    spans = re.findall(r"`(tlsweep [^`]+)`", " ".join(prose(path).split()))
    for line in commands(path) + spans:
        for verb, rest in re.findall(r"(?:^|&& |-m |/bin/|tlsweep )tlsweep ([a-z]+)\b([^>|&;]*)", line):
            assert verb in verbs, line
            known = {option for parameter in verbs[verb].params for option in parameter.opts + parameter.secondary_opts}
            assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known | {"--help"}, line


KEPT = re.findall(
    r"^\| `reference/([\w-]+)`.*? \| `(tlsweep launch [^`]+)`",
    (ROOT / "results" / "README.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(("folder", "command"), KEPT)
def test_the_commands_of_kept_sweeps_train_as_these_did(folder: str, command: str) -> None:
    """What a field does that is left out may change from one version to the next."""
    _, _, preset, *rest = shlex.split(command)
    overrides = [value for option, value in itertools.pairwise(rest) if option == "-o" and "=N" not in value]
    spec = load_spec(preset, overrides)
    stored = load_spec(read_stored((ROOT / "results" / "reference" / folder / "spec.yaml").read_text(), folder))
    # `auto`, of networks that are no transformers.
    train, then = (found.train.model_copy(update={"layer_decay": 1.0}) for found in (spec, stored))
    assert (train, spec.data.normalize) == (then, stored.data.normalize)


@every_readme
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    text = prose(path)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
    for name in re.findall(r"`((?:tlsweep|tests|cluster|results/reference)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


@every_readme
def test_methods_that_are_named_exist(path: Path) -> None:
    for name, attribute in re.findall(r"`([A-Z]\w*)\.(\w+)[`(]", prose(path)):
        assert attribute in members()[name], f"{name}.{attribute}"


@functools.cache
def members() -> dict[str, set[str]]:
    """Return the names of the methods that each class of the package defines itself."""
    trees = [ast.parse(module.read_text(encoding="utf-8")) for module in (ROOT / "tlsweep").rglob("*.py")]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {found.name: {node.name for node in found.body if isinstance(node, ast.FunctionDef)} for found in classes}


def names_of(module: str) -> set[str]:
    """What its file says can be imported from a module: to import it may take seconds."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    below = {path.stem for path in Path(spec.origin).parent.iterdir()} if spec.submodule_search_locations else set()
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return below | names


@every_readme
def test_python_blocks_compile_and_their_names_exist(path: Path) -> None:
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                unseen = {alias.name for alias in node.names} - names_of(str(node.module))
                assert all(hasattr(importlib.import_module(str(node.module)), name) for name in unseen)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tlsweep":
                import tlsweep

                assert hasattr(tlsweep, node.attr)


@pytest.mark.parametrize("path", [path for path in READMES if path.parent != ROOT / "cluster"], ids=str)
def test_yaml_blocks_are_valid_specs(path: Path) -> None:
    from tlsweep.spec.loading import _parse

    for block in blocks(path, "yaml"):
        base = {"data": {"source": "digits"}, "search": {"strategy": "random"}}
        file = block if block.startswith("trial:") else yaml.safe_dump(base) + block
        assert load_spec(_parse(file, "README")).space


def test_the_queries_run_and_quote_what_is_a_reserved_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb
    from builders import make_sweep

    make_sweep(tmp_path / "results", "digits")
    monkeypatch.chdir(tmp_path)
    texts = "".join(path.read_text(encoding="utf-8") for path in READMES)
    queries = re.findall(r'duckdb\.sql\("""(.*?)"""\)', texts, re.DOTALL)
    assert len(queries) >= 2
    assert all(duckdb.sql(query).fetchall() for query in queries)
    kinds = "('reserved', 'type_function')"  # the others may name a column
    reserved = duckdb.sql(f"select keyword_name from duckdb_keywords() where keyword_category in {kinds}").fetchall()
    columns = {(name,) for table in TABLES.values() for name in table}
    assert columns & set(reserved) == {("freeze",)}
    assert any('"freeze"' in query for query in queries)


if __name__ == "__main__":
    readme = README.read_text(encoding="utf-8")
    pattern = re.compile(r"<!-- map -->\n.*?<!-- /map -->", re.DOTALL)
    README.write_text(pattern.sub(lambda _: f"<!-- map -->\n{the_map()}\n<!-- /map -->", readme), encoding="utf-8")
