"""`tlsweep fields`, `columns` and `events`."""

import fnmatch
import re
from typing import Any

import pytest
from in_process import Run

from tlsweep.spec.reference import spec_fields
from tlsweep.store.schema import KINDS, TABLES


@pytest.mark.parametrize("section", dict.fromkeys(field.path.partition(".")[0] for field in spec_fields()))
def test_every_field_of_a_spec_is_explained(run: Run, section: str) -> None:
    code, out, err = run("fields", section)
    assert (code, err) == (0, "")
    shown = re.findall(r"^\w\S+$", out, re.MULTILINE)
    known = [field.path for field in spec_fields() if field.path.partition(".")[0] == section]
    assert shown[: len(known)] == known
    assert shown == known or section in ("epochs", "trial")  # which `train` and `search.claim` have too


@pytest.mark.parametrize(
    ("verb", "groups"), [("fields", {field.path.partition(".")[0] for field in spec_fields()}), ("columns", TABLES)]
)
def test_without_an_argument_a_page_says_what_there_is_and_how_to_ask(run: Run, verb: str, groups: Any) -> None:
    code, out, err = run(verb)
    assert (code, err) == (0, "")
    assert set(re.findall(r"^(\w+) ", out, re.MULTILINE)) == {*groups, "more"}
    assert len(out.splitlines()) < 60
    for example in re.findall(rf"'tlsweep {verb} (\w\S*)'", out):
        assert run(verb, example)[0] == 0
    names = {field.path.partition(".")[2] for field in spec_fields()} if verb == "fields" else {"lr", "reason", "gain"}
    assert names <= {"", *out.replace(",", " ").split()}


def test_a_name_alone_is_explained_wherever_it_is(run: Run) -> None:
    assert run("columns", "reason") == run("columns", "trials.reason")
    assert run("fields", "lr") == run("fields", "train.lr")
    titles = [line for line in run("fields", "epochs")[1].splitlines() if not line.startswith(" ")]
    assert titles == ["epochs", "budget.epochs", "model.weights.epochs", "train.epochs"]
    assert re.findall(r"^(\w+).parquet:", run("columns", "freeze")[1], re.MULTILINE) == ["reports", "trials"]


def test_a_field_is_explained_with_type_rule_default_and_meaning(run: Run) -> None:
    code, out, _ = run("fields", "train.layer_decay")
    assert code == 0
    title, rule, *meaning = [line.strip() for line in out.splitlines()]
    assert (title, rule) == (
        "train.layer_decay",
        "number or 'auto', above 0, at most 1, or a distribution; default auto",
    )
    assert " ".join(meaning).startswith(
        "Each layer group learns with this times the lr of the group above it. `auto`: "
    )


def test_a_section_brings_the_fields_below_it_alone(run: Run) -> None:
    titles = [line for line in run("fields", "data.augment")[1].splitlines() if not line.startswith(" ")]
    assert titles == ["data.augment"] * 3 + ["data.augment.crop", "data.augment.flip"]
    assert run("fields", "model.weights.train.lr") == run("fields", "train.lr") == run("fields", "TRAIN.LR.")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fields", "trian.lr"), "there is no field 'trian.lr'; did you mean 'train.lr'?"),
        (("fields", "learning_rate"), "there is no field 'learning_rate'; did you mean 'train.lr'?"),
        (("fields", "\x1b[31mzzz"), "there is no field '\\x1b[31mzzz'; 'tlsweep fields' lists them"),
        (("columns", "report"), "there is no table or column 'report'; did you mean 'reports'?"),
        (("columns", "reasons"), "there is no table or column 'reasons'; did you mean 'trials.reason'?"),
        (("columns", "xyzzy"), "there is no table or column 'xyzzy'; 'tlsweep columns' lists them"),
        (("events", "exploit"), "there is no kind of event 'exploit'; did you mean 'exploited'?"),
    ],
)
def test_an_unknown_name_is_one_message_with_the_nearest(run: Run, arguments: tuple[str, ...], told: str) -> None:
    assert run(*arguments) == (2, "", f"error: {told}\n")


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_every_table_is_explained(run: Run, table: str) -> None:
    """Those of a kind by one line, and each by itself where it is asked for."""
    code, out, err = run("columns", table)
    assert (code, err) == (0, "")
    assert out.startswith(f"{table}.parquet: a row for each ")
    assert run("columns", f"{table}.parquet")[1] == out
    shown = re.findall(r"^  ([\w*]\S*) ", out, re.MULTILINE)
    others = re.search(r"…  +the other hyperparameters: ([^;]*);", out)
    shown += re.split(r",\s+", others[1]) if others else []
    for name in TABLES[table]:
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in shown), name
    last = list(TABLES[table])[-1]
    assert run("columns", f"{table}.{last}")[1].splitlines()[1].split()[:2] == [last, TABLES[table][last].type]


def test_the_columns_of_trials_fit_a_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("columns", "trials")[1].splitlines()
    assert len(lines) < 80
    assert max(map(len, lines)) <= 80
    names = [line.split()[0] for line in lines if re.match("  [a-z]", line)]
    kinds = ["start_*", "best_epoch", "best_generation", "best_*", "last_*"]
    assert [name for name in names if name.startswith(("start", "best", "last"))] == kinds


def test_a_section_is_told_by_whole_sentences(run: Run) -> None:
    """A name as 'Kolesnikov et al. 2020' is no end of one."""
    out = " ".join(run("fields")[1].split())
    meanings = {field.path: field.meaning for field in spec_fields()}
    assert "(Kolesnikov et al. 2020)" in meanings["controls"]
    assert "(Kolesnikov et al. 2020)" in out
    assert out.count("(") == out.count(")")


def test_a_single_column_is_explained(run: Run) -> None:
    _, out, _ = run("columns", "trials.reason")
    assert "Why it ended, in words" in out
    assert "status" not in out


def test_every_kind_of_event_is_explained(run: Run) -> None:
    assert re.findall(r"^(\w+) ", run("events")[1], re.MULTILINE) == list(KINDS)
    finished = KINDS["finished"]
    told = ["finished", *finished.meaning.split(), "details:", *finished.details.split()]
    assert run("events", "finished")[1].split() == told


ENTRIES = {"fields": len(spec_fields()), "columns": sum(map(len, TABLES.values())), "events": len(KINDS)}


@pytest.mark.parametrize(("verb", "rows"), ENTRIES.items())
def test_as_markdown_each_is_a_row_of_a_table(run: Run, verb: str, rows: int) -> None:
    code, out, _ = run(verb, "--markdown")
    head, rule, *lines = out.splitlines()
    cells = head.count("|")
    assert (code, set(rule), len(lines)) == (0, set("|- "), rows)
    assert all(re.sub(r"\\\|", "", line).count("|") == cells for line in lines)
