"""A sweep's folder that was damaged: every reader says which file, and what the journal knows is made again."""

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_ended_sweep
from in_process import Run
from rich.console import Console

from tlsweep.cli.program import open_sweep
from tlsweep.errors import ResultsError, UserError
from tlsweep.report import find_best, load_tables, recipe, repair, write_recipe
from tlsweep.report.recipe import confirmation
from tlsweep.report.repair import MODEL
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Results, SweepFolder, find_sweep_folder, open_results
from tlsweep.terminal import print_best, print_outcome, print_report
from tlsweep.training import export

pytestmark = pytest.mark.usefixtures("texts_parsed_once")

TABLES = ("reports.parquet", "trials.parquet", "events.parquet")
FILES = (*TABLES, "predictions.parquet", "hard_images.parquet", "spec.yaml", "environment.json", "recipe.yaml",
         "journal.jsonl", "best/model.json", "best/model.safetensors")  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ended_sweep(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "demo")
    return tmp_path / "demo"


def shown(show: Callable[[Console, Results], None], results: Results) -> str:
    file = io.StringIO()
    show(Console(file=file, width=1000), results)
    return file.getvalue()


READERS: dict[str, Callable[[Results], object]] = {
    "best": lambda results: shown(print_best, results),
    "best --json": lambda results: json.dumps(find_best(load_tables(results)).as_dict(), allow_nan=False),
    "report": lambda results: shown(print_report, results),
    "outcome": lambda results: shown(print_outcome, results),
    "confirm": lambda results: load_spec(confirmation(results, 3)),
    "recipe": recipe,
    "state": lambda results: results.state(),
    "winner": lambda results: results.winner(),
    "environment": lambda results: results.environment,
    "pandas": lambda results: results.to_pandas("reports"),
}


READ_BY = {
    "spec.yaml": ("best", "report", "outcome", "confirm", "recipe", "winner"),
    "environment.json": ("best --json", "report", "environment", "recipe"),
    "recipe.yaml": ("best", "confirm"),
    "journal.jsonl": ("outcome", "confirm", "recipe", "state", "winner"),
    "reports.parquet": ("best", "report", "pandas"),
}


def truncated(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def flipped(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 8))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def removed(path: Path, chance: random.Random) -> None:
    path.unlink()


def a_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def flipped_at_the_start(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[:8] = b"\xff" * len(content[:8])
    path.write_bytes(content)


def empty(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def of_another_kind(path: Path, chance: random.Random) -> None:
    """Something that reads back, and is something else."""
    if path.suffix != ".parquet":
        path.write_text(chance.choice(["[]", "7", "{}", "null", '"x"', "a: {b: 1}", "\0", "\x1b]0;x\x07"]))
        return
    table = pq.read_table(path)
    name = chance.choice(table.column_names)
    at = table.column_names.index(name)
    other = chance.choice(
        [pa.table({"x": [1]}), table.drop_columns([name]), table.set_column(at, name, pa.array([b"x"] * len(table)))]
    )
    pq.write_table(other, path)


def of_another_moment(path: Path, chance: random.Random) -> None:
    """A table with rows lost, whole as a file."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(table.slice(0, chance.randrange(len(table))), path)
    else:
        truncated(path, chance)


DAMAGES = (truncated, flipped, flipped, removed, a_folder, empty, of_another_kind, of_another_moment)


@pytest.mark.parametrize("file", FILES)
def test_however_a_file_is_damaged_there_is_an_answer_or_one_line(sound: Path, tmp_path: Path, file: str) -> None:
    """In each of some ways; what reads that file is asked, and nothing else for want of time."""
    chance, told = random.Random(file), []
    for number, damage in enumerate(DAMAGES):
        path = tmp_path / str(number) / "demo"
        shutil.copytree(sound, path)
        damage(path / file, chance)
        for reader in READ_BY.get(file, ("best", "report")):
            try:
                READERS[reader](open_results(path))
            except UserError as error:
                told.append(str(error))
    assert told or file.startswith("best")  # whose faults are among the lines of an answer
    for line in told:
        assert "\n" not in line
        assert len(line) < 600
        assert "has not begun" not in line


def with_details(folder: Path, kind: str, change: Callable[[Any], Any]) -> None:
    """Events of a kind whose details say something else, in a table that is whole."""
    table = pq.read_table(folder / "events.parquet")
    rows = [
        row | {"details": json.dumps(change(json.loads(row["details"])))} if row["kind"] == kind else row
        for row in table.to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / "events.parquet")


PER_CLASS = {name: [0.5] * 10 for name in ("precision", "recall", "f1", "support")}
FORGED_DETAILS = {
    "created": [{}, [], 7, {"number": 1, "hyperparameters": []}, {"number": 1, "hyperparameters": {"lr": 0.1}}],
    "exploited": [{}, {"donor": {}}, {"donor_epoch": []}, {"donor_generation": "x"}, {"hyperparameters": -1}],
    "evaluated": [
        "x", {"accuracy": []}, {"loss": {"a": 1}}, {"trial": 1}, {"per_class": {}}, {"confusion": [[1]]},
        {"per_class": {key: [0.5] for key in PER_CLASS}, "confusion": []}, {"confusion": [["x"] * 10]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "forged"), [(kind, one) for kind, many in FORGED_DETAILS.items() for one in many])
def test_values_that_no_sweep_writes_into_its_events_are_one_line(folder: Path, kind: str, forged: Any) -> None:
    with_details(folder, kind, lambda true: {**true, **forged} if isinstance(forged, dict) and forged else forged)
    if kind == "evaluated" and "confusion" in forged:
        with_details(folder, kind, lambda details: details | {"per_class": PER_CLASS})
    readers = ("best", "best --json") if kind == "evaluated" else ("best", "best --json", "report")
    for name in readers:
        with pytest.raises(ResultsError, match=r"events.parquet' is damaged \(.*'tlsweep repair demo") as error:
            READERS[name](open_results(folder))
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "forged",
    [
        {"data": []}, {"data": 7}, {"data": {"classes": 3}}, {"data": {"classes": [None]}}, {"data": {"images": []}},
        {"data": {"fingerprint": {}}}, {"weights": "\x1b]0;x\x07"}, {"weights": {"sha256": -1}}, {"hardware": [1]},
        {"hardware": {"cpus": "many"}},
    ],
)  # fmt: skip
def test_an_environment_that_no_sweep_writes_is_one_line(folder: Path, forged: Any) -> None:
    (folder / "environment.json").write_text(json.dumps(forged))
    for name in ("best --json", "report"):
        with pytest.raises(
            ResultsError, match=r"environment.json' is damaged \(.* is none that tlsweep writes"
        ) as error:
            READERS[name](open_results(folder))
        assert str(error.value).isprintable()
    assert repair(open_results(folder).folder) == []
    READERS["report"](open_results(folder))


@pytest.mark.parametrize("column", ["best_epoch", "best_generation", "trial", "arm", "number", "status", "epoch"])
def test_a_trial_without_what_all_have_is_one_line(folder: Path, column: str) -> None:
    table = pq.read_table(folder / "trials.parquet")
    at = table.column_names.index(column)
    none = pa.nulls(len(table), table.schema.field(column).type)
    pq.write_table(table.set_column(at, table.schema.field(column), none), folder / "trials.parquet")
    for name in ("best", "best --json", "report"):
        with pytest.raises(ResultsError, match=rf"trials.parquet' is damaged \(a trial lacks its {column}\)"):
            READERS[name](open_results(folder))


@pytest.mark.parametrize("damage", [removed, empty, truncated, of_another_kind], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", [*TABLES, "spec.yaml", "environment.json", "recipe.yaml"])
def test_what_the_journal_knows_is_made_again(
    folder: Path, sound: Path, file: str, damage: Callable[[Path, random.Random], None]
) -> None:
    damage(folder / file, random.Random(1))
    lines = []
    for name in ("best", "report", "confirm"):
        try:
            lines.append(str(READERS[name](open_results(folder))))
        except ResultsError as error:
            lines.append(str(error))
    told = [line for line in lines if f"demo/{file}' is " in line.replace("\n", " ")]
    assert told
    assert all("tlsweep repair demo --results" in line for line in told)
    assert repair(find_sweep_folder(folder.parent)) == []
    for name in TABLES:
        assert (folder / name).read_bytes() == (sound / name).read_bytes()
    for name in ("spec.yaml", "environment.json", "recipe.yaml"):
        assert (folder / name).read_text() == (sound / name).read_text()
    for name in ("best", "report"):
        assert " is missing" not in str(READERS[name](open_results(folder)))


@pytest.mark.parametrize(
    "damage", [removed, empty, truncated, flipped_at_the_start], ids=lambda damage: damage.__name__
)
@pytest.mark.parametrize("name", MODEL)
def test_a_model_that_is_damaged_is_made_again_by_a_resume(
    folder: Path, name: str, damage: Callable[[Path, random.Random], None]
) -> None:
    damage(folder / "best" / name, random.Random(1))
    (line,) = repair(find_sweep_folder(folder.parent))
    assert f"demo/best/{name}' is " in line
    assert "'tlsweep resume demo --results" in line
    for reader in ("best", "report"):
        assert line in str(READERS[reader](open_results(folder)))


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        *((damage, "predictions.parquet") for damage in (removed, empty, truncated, flipped_at_the_start)),
        (truncated, "hard_images.parquet"),
    ],
)
def test_predictions_that_are_damaged_are_made_again_by_a_resume(
    folder: Path, damage: Callable[[Path, random.Random], None], file: str
) -> None:
    damage(folder / file, random.Random(1))
    (line,) = repair(find_sweep_folder(folder.parent))
    assert f"demo/{file}' is " in line
    assert "'tlsweep resume demo --results" in line
    try:
        shown = str(READERS["report"](open_results(folder)))
    except ResultsError as error:
        shown = str(error)
    assert line in shown


def test_the_files_of_a_model_are_those_that_are_exported() -> None:
    names = (export.MODEL, export.CLASSES, export.PREPROCESSING, export.METRICS, export.WEIGHTS)
    assert set(MODEL) == set(names)


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_without_its_journal_nothing_is_made_up(folder: Path, what: str) -> None:
    journal = folder / "journal.jsonl"
    journal.unlink()
    if what == "empty":
        journal.touch()
    with pytest.raises(ResultsError, match=r"journal.jsonl' (is missing|holds nothing).*put a"):
        repair(SweepFolder(folder))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(ResultsError, match="journal.jsonl' is missing or empty, and all else is made from it"):
        find_sweep_folder(folder.parent, "demo", begun=False)
    with pytest.raises(ResultsError, match="journal.jsonl' is missing or empty, and all else is made from it"):
        open_results(folder).winner()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("file", [*TABLES, "spec.yaml", "recipe.yaml", "journal.jsonl", "best/model.safetensors"])
def test_a_folder_in_place_of_a_file_is_not_written_over(folder: Path, file: str) -> None:
    a_folder(folder / file, random.Random(1))
    (folder / file / "mine").touch()
    with pytest.raises(ResultsError, match=f"demo/{file}' stands where a file of the sweep's belongs; move it"):
        repair(SweepFolder(folder))
    assert (folder / file / "mine").exists()


def test_nobody_repairs_what_is_being_run(folder: Path) -> None:
    from tlsweep.store import FolderLock

    with FolderLock(SweepFolder(folder)), pytest.raises(ResultsError, match="is being run by process"):
        repair(SweepFolder(folder))


def test_the_spec_of_a_sweep_whose_folder_was_renamed_by_hand_is_sound(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("my sweep (copy)"))
    text = (renamed / "spec.yaml").read_text()
    (renamed / "spec.yaml").write_text(text.replace("name: demo", "name: my sweep (copy)"))  # as an earlier version did
    found = open_results("my sweep (copy)", renamed.parent)
    assert isinstance(found.spec, SweepSpec)
    write_recipe(found.path)
    assert repair(found.folder) == []
    assert "tlsweep report 'my sweep (copy)'" in str(READERS["best"](found))


@pytest.mark.parametrize("journal", ["missing", "empty"])
def test_the_newest_is_looked_for_among_those_with_a_journal_and_the_others_are_named(
    sound: Path, tmp_path: Path, journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("whole", "lost"):
        shutil.copytree(sound, tmp_path / name)
    lost = tmp_path / "lost" / "journal.jsonl"
    lost.unlink()
    if journal == "empty":
        lost.touch()
    assert open_sweep(None, str(tmp_path)).name == "whole"
    assert capsys.readouterr().err == f"passed over '{tmp_path}/lost': its journal is missing or empty\n"
    assert open_sweep("whole", str(tmp_path)).name == "whole"
    assert capsys.readouterr().err == ""
    shutil.rmtree(tmp_path / "whole")
    with pytest.raises(ResultsError, match="has a journal, which tells the newest; name one: lost$"):
        open_sweep(None, str(tmp_path))


@pytest.mark.parametrize("verb", [("report",), ("best",), ("trial",), ("trial", "t0001")])
def test_a_sweep_that_was_kept_without_its_journal_is_read_all_the_same(
    folder: Path, run: Run, verb: tuple[str, ...]
) -> None:
    word, *which = verb
    with_journal = run(word, "demo", *which, "--results", str(folder.parent))
    (folder / "journal.jsonl").unlink()
    code, out, err = run(word, "demo", *which, "--results", str(folder.parent))
    assert (code, out) == with_journal[:2]
    assert (code, err) == (0, "'demo' has no journal: all that is known of it is in its tables\n")
