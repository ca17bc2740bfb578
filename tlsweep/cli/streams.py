"""Standard output and error that may be closed, full, or of few characters: nothing of that ends a sweep."""

import codecs
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

_PLAIN = str.maketrans(
    {"×": "x", "±": "+-", "…": "...", "·": ".", "–": "-", "—": "-", "→": "->", "≥": ">=", "≤": "<="}
    | dict(zip("▁▂▃▄▅▆▇█", "_.,-~=*#", strict=True))
)
"""What our own signs are where an encoding lacks them."""

_LEAST = {"COLUMNS": 20, "LINES": 5}
"""What a window has at least, in characters."""


class Output(io.FileIO):
    """Bytes to a file descriptor. Once one of them cannot be written, the rest is dropped and nothing is raised."""

    def __init__(self, descriptor: int, failed: OSError | None) -> None:
        # The descriptor stays open when this object goes: Ray's threads and C libraries write to it too.
        super().__init__(descriptor, "wb", closefd=False)
        self.failed = failed
        """Why nothing is written any more."""
        self.needed = True
        """Whether the output is what the program was started for."""

    def write(self, data: Any) -> int:
        while self.failed is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.failed = error
                if not self.needed:
                    print(f"standard output is lost ({error.strerror}); going on without it", file=sys.stderr)
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # a terminal that another program has set to non-blocking
        # What is dropped counts as written, or the buffer above would hand it over again and again.
        return memoryview(data).nbytes

    @property
    def lost(self) -> OSError | None:
        """Why the program has not done what it was started for. A reader who has seen enough (head) is no reason."""
        if self.failed is None or not self.needed or self.failed.errno == errno.EPIPE:
            return None
        return self.failed


def open_streams() -> Output:
    """Take over the standard streams; the one of standard output.

    A closed one is opened on nothing: the next file would get its number, and what is printed would go there.
    """
    codecs.register_error("plain", _plain)
    _forget_impossible_sizes()
    closed = {number for number in (0, 1, 2) if not _is_open(number)}
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    none = OSError(errno.EBADF, "it is closed")
    out, err = (Output(number, none if number in closed else None) for number in (1, 2))
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(err, sys.stderr, line_buffering=True)
    return out


def output_is_not_needed() -> None:
    """Say that the work is done whatever becomes of standard output: a sweep is worth more than its picture."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, Output):
        raw.needed = False


def _forget_impossible_sizes() -> None:
    """Let the terminal say itself how large it is: where COLUMNS is 0, as on serial consoles, rich prints nothing."""
    for name, least in _LEAST.items():
        if os.environ.get(name, "").isdigit() and int(os.environ[name]) < least:
            del os.environ[name]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _text(stream: Output, before: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    """Make a text stream as Python opens it, but for its errors; where Python opened none, the bytes go nowhere."""
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(stream),
        encoding,
        "plain",
        line_buffering=line_buffering or getattr(before, "line_buffering", False),
        write_through=getattr(before, "write_through", False),
    )


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks (an error handler of `codecs`): our own signs by ASCII, others by escape codes."""
    assert isinstance(error, UnicodeEncodeError)
    wanted = error.object[error.start : error.end]
    translated = wanted.translate(_PLAIN)
    return translated.encode("ascii", "backslashreplace").decode(), error.end
