"""A page that is served says what the tables say now, to this machine alone, and nothing can be done with it."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest
from builders import SweepBuilder, make_spec, make_sweep
from command_line import Ended, assert_one_message
from in_process import Run

from tlsweep.store import Results
from tlsweep.terminal.page import server
from tlsweep.terminal.page.server import LivePage, address, make_server


@contextmanager
def served(results: Results, host: str = server.LOOPBACK) -> Iterator[str]:
    with make_server(LivePage([results], None, images=False), host) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield address(serving)
        serving.shutdown()
        thread.join()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """Status, tag, content."""
    request = urllib.request.Request(
        url, method=method, headers={name.replace("_", "-"): headers[name] for name in headers}
    )
    try:
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("ETag") or "", ""
    with answer:
        return answer.status, answer.headers.get("ETag") or "", answer.read().decode()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is looked at again whenever somebody asks."""
    monkeypatch.setattr(server, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(server, "_REST", 0.0)


@pytest.mark.usefixtures("at_once")
def test_it_is_sent_again_only_when_the_tables_have_changed(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    builder.create("t0000", 0)
    with served(builder.finish()) as url:
        status, waiting, page = ask(url)
        assert (status, "No trial has completed an epoch" in page) == (200, True)
        assert ask(url, If_None_Match=waiting) == (304, waiting, "")
        builder.report("t0000", 0.625)
        builder.finish()
        status, tag, page = ask(url, If_None_Match=waiting)
        assert (status, "0.625" in page) == (200, True)
        assert "connect-src 'self'" in page
        assert tag != waiting
        assert ask(url, "HEAD") == (200, tag, "")


@pytest.mark.usefixtures("at_once")
def test_before_there_are_tables_it_waits_for_them(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    table = results.path / "reports.parquet"
    content = table.read_bytes()
    (results.path / "journal.jsonl").rename(tmp_path / "journal.jsonl")
    table.unlink()
    with served(results) as url:
        assert "the sweep has not begun to train" in ask(url)[2]
        table.write_bytes(content)
        assert "Learning curves" in ask(url)[2]


def test_nobody_else_can_read_it_and_nothing_can_be_done_with_it(tmp_path: Path) -> None:
    with served(make_sweep(tmp_path)) as url:
        assert url.startswith("http://127.0.0.1:")
        assert ask(url, Host="attacker.example")[0] == 403  # a name that was made to point here
        assert ask(url, Host="localhost:1")[0] == 200
        assert ask(f"{url}journal.jsonl")[0] == 404
        assert ask(f"{url}../spec.yaml")[0] == 404
        for method in ("POST", "PUT", "DELETE"):
            assert ask(url, method)[0] == 501


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--pictures", "x", "--html"], ["--pictures writes files of one sweep", "leave --html"]),
        (["--format", "png"], ["--format says what files --pictures writes", "add --pictures"]),
        (["--serve", "--html"], ["--html writes the page once", "leave one of them out"]),
        (["--port", "8000"], ["--port says where --serve listens", "add --serve"]),
        (["--serve", "--host", "203.0.113.7"], ["--host 203.0.113.7", "nobody can listen there", "this machine alone"]),
        (["--serve", "--host", "no such host"], ["--host no such host", "nobody can listen there"]),
    ],
)
def test_mistakes_are_one_message(run: Run, tmp_path: Path, options: list[str], told: list[str]) -> None:
    make_sweep(tmp_path / "results")
    assert_one_message(Ended(*run("report", *options)), told)
