"""Files appear whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlsweep.errors import ResultsError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well it takes its place, else it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file, readable by people."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def cannot_write(path: Path, error: OSError) -> ResultsError:
    """What to say when the disk does not take a file of a sweep: nothing that was reported before is lost."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ResultsError(
        f"cannot write '{path}': {reason}; put that right (make room, if the disk is full), and go on with 'tlsweep "
        f"launch --resume {path.parent.name}' (launch again if no trial had begun): everything until now is kept"
    )
