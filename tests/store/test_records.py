"""A journal of somebody else names nothing outside the sweep's folder."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tlsweep.errors import ResultsError
from tlsweep.store import Journal, SweepFolder, read_journal

SOUND = SweepFolder(Path()).checkpoint("t0001-labels-5-scratch", 12, 10_000, "0123456789abcdef")
PATHS = [
    "/home/me/keys", "../../keys", "checkpoints/../../keys", "checkpoints/t0001/../../../keys.pt",
    "checkpoints/../g0-e0001-01234567.pt", "checkpoints/t0001/sub/g0-e0001-01234567.pt",
    "checkpoints\\t0001\\g0-e0001-01234567.pt", "checkpoints/t0001/g0-e0001-01234567.pt\0", "best/model.safetensors",
    f"{SOUND}\n", "//checkpoints/t0001/g0-e0001-01234567.pt", "journal.jsonl", "~/keys", "", 7, ["x"], {"a": 1}, True,
]  # fmt: skip
NAMES = ["../t0001", "/etc", "a/b", "..", ".", ".ssh", "t0001\0", "t\\u", "t0001\n", "", 7, ["t0001"], {"t": 1}, False]


def record_with(field: str, value: Any) -> dict[str, Any]:
    """A record that holds a value at one of the places where a name or a path can stand."""
    record: dict[str, Any] = {"type": "event", "trial": "t0001", "arm": "main", "details": {}}
    match field.split(".", 1):
        case ["details", "passed_over[]"]:
            record["details"]["passed_over"] = [SOUND, value]
        case ["details", "passed_over[].path"]:
            record["details"]["passed_over"] = [{"path": value, "reason": "is damaged"}]
        case ["details", "reopened[]"]:
            record["details"]["reopened"] = ["t0000", value]
        case ["details", name]:
            record["details"][name] = value
        case [name]:
            record[name] = value
    return record


PATH_FIELDS = ("checkpoint", "details.checkpoint", "details.passed_over[]", "details.passed_over[].path")
NAME_FIELDS = ("trial", "arm", "parent_trial", "details.donor", "details.trial", "details.reopened[]")


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field in PATH_FIELDS for value in PATHS]
    + [(field, value) for field in NAME_FIELDS for value in NAMES],
)
def test_a_name_or_path_that_tlsweep_does_not_write_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    journal = Journal(tmp_path / "j")
    journal.append({"type": "event", "trial": None, "details": None})
    journal.append(record_with(field, value))
    journal.close()
    with pytest.raises(ResultsError, match=r"j', line 2: \w+ = .* is none that tlsweep writes") as refused:
        list(read_journal(tmp_path / "j"))
    assert len(str(refused.value)) < 500 + len(str(tmp_path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("line", [b"7", b'["x"]', b'{"type":"event","details":[1]}', b'[{"type":"event"},null]'])
def test_what_is_no_record_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "j").write_bytes(b"%08x %b\n" % (zlib.crc32(line), line))
    with pytest.raises(ResultsError, match="is none that tlsweep writes"):
        list(read_journal(tmp_path / "j"))


@pytest.mark.parametrize("field", PATH_FIELDS)
def test_what_tlsweep_writes_is_read_back(tmp_path: Path, field: str) -> None:
    records: list[Mapping[str, Any]] = [
        record_with(field, SOUND),
        record_with(field, "checkpoints/t0001/g0-e0001.pt"),  # of an earlier version
        record_with("details.donor", "t0003-no-explore"),
        record_with("trial", None),
    ]
    for record in records:
        body = json.dumps(record).encode()
        with (tmp_path / "j").open("ab") as file:
            file.write(b"%08x %b\n" % (zlib.crc32(body), body))
    assert list(read_journal(tmp_path / "j")) == records
