"""tests/README.md names every file of tests beside what it keeps, and no other."""

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_every_file_of_tests_stands_beside_a_promise() -> None:
    promises = (TESTS / "README.md").read_text(encoding="utf-8").partition("## What is promised")[2]
    named = re.findall(r"\]\(([\w/]*test_\w+\.py)\)", promises)
    there = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    assert sorted(named) == sorted(there), "name each file once in tests/README.md, beside what it keeps"


def test_what_tests_stand_on_is_where_it_is_said_to_be() -> None:
    text = (TESTS / "README.md").read_text(encoding="utf-8").partition("## What is promised")[0]
    code = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py"))
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        names, _, place = row.partition(" (")
        for name in re.findall(r"`(\w+)(?:\(\w*\))?`", names):
            assert re.search(rf"\b(def|class) {name}\b", code), name
        for path in re.findall(r"`([\w/]+(?:\.py|/))`", place):
            assert (TESTS / path).exists(), path
