"""Reading the cluster files, filled in as the README's commands do it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
README = CLUSTER / "README.md"
MARK = re.compile(r"YOUR_[A-Z_]+")
"""What a user has to give."""


def marks(file: str) -> set[str]:
    """The fields of a file that a user has to give."""
    return set(MARK.findall((CLUSTER / file).read_text(encoding="utf-8")))


def filled(file: str, **values: str) -> list[dict[str, Any]]:
    """The documents of a YAML file, each mark replaced by the value of that name."""
    text = (CLUSTER / file).read_text(encoding="utf-8")
    text = MARK.sub(lambda mark: values[mark.group()], text)
    return [document for document in yaml.safe_load_all(text) if document is not None]


def code_blocks(section: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block of code below a heading of the README, up to the next of its level."""
    text = README.read_text(encoding="utf-8")
    heading = re.search(rf"^(#+) {re.escape(section)}$", text, re.MULTILINE)
    assert heading, f"cluster/README.md has no section '{section}'"
    level = len(heading.group(1))
    # A line of code may begin with '#' too.
    body = re.split(rf"^#{{1,{level}}} (?=[A-Z])", text[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    return ((found.group(1), found.group(2)) for found in re.finditer(r"^```(\w*)\n(.*?)^```$", body, re.M | re.S))
