r"""Text of others as it is shown: names of files and classes, messages of other programs, what a trial raised.

A terminal obeys escape codes wherever they come from: a class folder called `\x1b]0;…` would rename the window, and
one with a line feed would write a line of its own into our table (CWE-150).
"""

import difflib
import re
from collections.abc import Collection, Sequence

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""They reverse what stands beside them (CVE-2021-42574). Joiners stay: scripts and emoji need them."""
_OTHERS = f"\x7f-\x9f\u2028\u2029\ud800-\udfff{_BIDI}"

_OBEYED = re.compile(f"[\x00-\x1f{_OTHERS}]")
_OBEYED_BUT_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_OTHERS}]")
_URLOPEN = re.compile(r"<urlopen error (?:\[Errno -?\d+\] )?(.*?)>")
_COLOUR = re.compile(r"(\x1b\[[\d;]*m)")


def one_line(text: str) -> str:
    """A name as part of a line: what a terminal would obey, and bytes that are no UTF-8, as Python writes them."""
    return _OBEYED.sub(_escaped, text)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The nearest of the known names, as part of an error."""
    near = difflib.get_close_matches(name.lower(), known, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return "nothing of a similar name is known"


def listed(names: Sequence[str], most: int) -> str:
    """The first `most` names as in a sentence, and how many more there are."""
    shown = ", ".join(map(one_line, names[:most]))
    if len(names) > most:
        return f"{shown} and {len(names) - most} more"
    return shown


def several_lines(text: str) -> str:
    """Text such as a traceback: line feeds and tabs stay, all else is escaped as in `one_line`."""
    return _OBEYED_BUT_LINES.sub(_escaped, text)


def coloured_lines(text: str) -> str:
    """What another program drew for a terminal: its colours stay too, links and all other codes are escaped."""
    parts = _COLOUR.split(text)  # what the group matched stands at the odd places
    return "".join(part if at % 2 else several_lines(part) for at, part in enumerate(parts))


def _escaped(found: "re.Match[str]") -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape", "surrogatepass").decode()


def shortened(text: str, limit: int = 60) -> str:
    """Text of any length as a part of a line: what is beyond `limit` characters is left out, and that is shown."""
    return one_line(text if len(text) <= limit else text[: limit - 1] + "…")


def in_words(error: BaseException) -> str:
    """What an error says, without what urllib puts around the network's reason: '<urlopen error [Errno -2] …>'."""
    return _URLOPEN.sub(r"\1", str(error))
