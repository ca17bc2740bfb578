"""A journal with right checks and nonsense in it: every verb answers, or says in one line which record is wrong."""

import copy
import io
import json
import random
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import make_ended_sweep
from rich.console import Console

from tlsweep.errors import UserError
from tlsweep.observer import Silence
from tlsweep.report.recipe import recipe
from tlsweep.report.repair import repair
from tlsweep.spec import load_spec
from tlsweep.store import Record, Results, SweepFolder, read_journal
from tlsweep.sweep.driver import _complete
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.resuming import read_history, stored_spec
from tlsweep.terminal.best import print_best
from tlsweep.terminal.report import print_report

pytestmark = pytest.mark.usefixtures("texts_parsed_once")

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
NONSENSE: list[Any] = [
    None, "x", "\ud800", "\x1b]0;x", "x" * 3000, "t0001", "t9999", "main", True, -1, -0.5, 0, 999, 2**53, 10**30,
    10**400, 1e308, float("nan"), float("inf"), [], {}, [1], {"a": 1}, ["t0001"], DEEP,
]  # fmt: skip
KINDS = [
    "promoted",
    "joined",
    "resumed",
    "restored",
    "repeated",
    "exploited",
    "evaluated",
    "created",
    "launched",
    "what",
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ended_sweep(tmp_path_factory.mktemp("results"))


def write_records(journal: Path, records: list[Record]) -> None:
    lines, last = [], "00000000"
    for record in records:
        body = json.dumps({**record, "follows": last}).encode()
        last = f"{zlib.crc32(body):08x}"
        lines.append(b"%b %b\n" % (last.encode(), body))
    journal.write_bytes(b"".join(lines))


def locations(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (mapping or list, key) in a record."""
    keys: Any = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from locations(value[key])


def a_value(records: list[Record], chance: random.Random) -> None:
    holder, key = chance.choice(list(locations(chance.choice(records))))
    holder[key] = chance.choice(NONSENSE)


def a_column(records: list[Record], chance: random.Random) -> None:
    record = chance.choice(records)
    record[chance.choice(list(record))] = chance.choice(NONSENSE)


def a_missing_key(records: list[Record], chance: random.Random) -> None:
    holder, key = chance.choice([one for one in locations(chance.choice(records)) if isinstance(one[0], dict)])
    del holder[key]


def an_order(records: list[Record], chance: random.Random) -> None:
    records.insert(chance.randrange(len(records)), records.pop(chance.randrange(len(records))))


def a_lost_record(records: list[Record], chance: random.Random) -> None:
    del records[chance.randrange(len(records))]


def a_doubled_record(records: list[Record], chance: random.Random) -> None:
    records.insert(chance.randrange(len(records)), chance.choice(records))


def a_kind(records: list[Record], chance: random.Random) -> None:
    chance.choice([one for one in records if "kind" in one])["kind"] = chance.choice(KINDS)


FORGERIES = [a_value, a_column, a_missing_key, an_order, a_lost_record, a_doubled_record, a_kind]


def resumed(folder: SweepFolder) -> Ledger:
    """As far as a resume comes before images are read and Ray is started."""
    spec = load_spec(stored_spec(folder))
    history = read_history(folder, spec)
    ledger = Ledger(spec, spec.search.strategy, folder, Silence())
    ledger.replay(history.records)
    _complete(ledger, folder)
    return ledger


def steps(folder: SweepFolder) -> list[Callable[[], object]]:
    results, console = Results(folder), Console(file=io.StringIO(), width=80)
    return [
        lambda: results.winner(),
        lambda: recipe(results),
        lambda: resumed(folder),
        lambda: repair(folder),
        lambda: print_report(console, results),
        lambda: print_best(console, results),
    ]


def test_what_a_resume_reads_of_a_sound_journal_is_all_that_was_reached(sound: Path) -> None:
    assert resumed(SweepFolder(sound)).state.reports == 15


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forged_journal_is_read_or_refused_in_one_line(sound: Path, tmp_path: Path, forge: Any) -> None:
    records = list(read_journal(sound / "journal.jsonl"))
    for seed in range(8):
        forged, chance = copy.deepcopy(records), random.Random(f"{forge.__name__} {seed}")
        forge(forged, chance)
        folder = SweepFolder(tmp_path / str(seed))
        shutil.copytree(sound, tmp_path / str(seed))
        write_records(tmp_path / str(seed) / "journal.jsonl", forged)
        for step in steps(folder):
            try:
                step()
            except UserError as error:
                assert len(str(error)) < 1000 + 2 * len(str(folder.path)), seed  # noqa: PT017
                assert "\n" not in str(error), seed  # noqa: PT017


@pytest.mark.parametrize(
    ("number", "change", "said"),
    [
        (1, {"epoch": "3"}, "line 2: epoch = '3' is none that tlsweep writes: it should be a valid integer"),
        (3, {"time": float("nan")}, "line 4: time = nan is none that tlsweep writes: it should be a finite number"),
        (1, {"details": {"number": 0}}, "line 2: details of created: it lacks hyperparameters"),
        (1, {"details": {"number": 0, "x": DEEP}}, "line 2: its details are nested deeper than 64 levels"),
        (1, {"kind": None}, "record 2 (None of t0000): it lacks kind"),
        (1, {"trial": "t9"}, "record 10 (started of t0000): it tells of trial 't0000' without a line that created it"),
    ],
)  # fmt: skip
def test_the_record_that_is_wrong_is_named(sound: Path, tmp_path: Path, number: int, change: Record, said: str) -> None:
    records = list(read_journal(sound / "journal.jsonl"))
    records[number] = records[number] | change
    shutil.copytree(sound, tmp_path / "sweep")
    write_records(tmp_path / "sweep" / "journal.jsonl", records)
    with pytest.raises(UserError) as refused:
        resumed(SweepFolder(tmp_path / "sweep"))
    assert str(tmp_path / "sweep" / "journal.jsonl") in str(refused.value)
    assert said in str(refused.value)
