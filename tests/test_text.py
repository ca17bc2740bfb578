"""Text of others is shown, not obeyed."""

from email.message import Message
from urllib.error import HTTPError, URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsweep.text import in_words, one_line, several_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nerror: b", r"a\nerror: b"),
        ("a\rb\tc", r"a\rb\tc"),
        ("ch\udceane", r"ch\xeane"),
        ("\ud83d", r"\ud83d"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("chêne 樫 👩\u200d🌾 [bold]", "chêne 樫 👩\u200d🌾 [bold]"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_of_several_lines_line_feeds_and_tabs_stay() -> None:
    assert several_lines("a\n\tb\r\x1b[2J") == "a\n\tb\\r\\x1b[2J"


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_can_be_written_anywhere_and_stays_as_it_is(text: str) -> None:
    shown = one_line(text)
    assert shown.encode() and "\n" not in shown if shown else True
    assert one_line(shown) == shown
    assert one_line(several_lines(text)) == shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (URLError(OSError(-2, "Name or service not known")), "Name or service not known"),
        (URLError("unknown url type: x"), "unknown url type: x"),
        (
            RuntimeError(f"Error downloading a:\n{URLError(TimeoutError('timed out'))}"),
            "Error downloading a:\ntimed out",
        ),
        (HTTPError("http://x", 404, "Not Found", Message(), None), "HTTP Error 404: Not Found"),
    ],
)
def test_a_failed_download_is_told_in_the_words_of_the_network(error: Exception, words: str) -> None:
    assert in_words(error) == words
