"""Serves the page of a sweep: it is made anew from the tables when they have changed, and the browser keeps asking."""

import hashlib
import ipaddress
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tlsweep.errors import ResourceError, UserError
from tlsweep.store import Results
from tlsweep.terminal.page.page import make_page, waiting_page
from tlsweep.text import one_line

LOOPBACK = "127.0.0.1"
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_REST = 9.0
"""For each second that a page took it is good for so many more: making pages takes a tenth of a core at most."""
_LEAST_SECONDS = 2.0


class LivePage:
    """The page of sweeps, as of at most a few seconds ago."""

    def __init__(self, sweeps: Sequence[Results], metric: str | None, *, images: bool) -> None:
        self._sweeps, self._metric = sweeps, metric
        self._images = images
        self._lock = threading.Lock()
        self._good_until = 0.0
        self._made_of: object = None
        self._content, self._tag = b"", ""

    def current(self) -> tuple[bytes, str]:
        """Its bytes and its tag (RFC 9110, ETag); several browsers that ask at once share one."""
        with self._lock:
            begun = time.monotonic()
            if begun >= self._good_until:
                there = [_as_of(results) for results in self._sweeps]
                if self._made_of is None or None in there or there != self._made_of:
                    self._content = self._make().encode()
                    self._tag = f'"{hashlib.sha256(self._content).hexdigest()[:32]}"'
                    self._made_of = there
                took = time.monotonic() - begun
                self._good_until = begun + took + max(_LEAST_SECONDS, _REST * took)
            return self._content, self._tag

    def _make(self) -> str:
        from tlsweep.report import figures

        try:
            tables = [figures.load(results, self._metric) for results in self._sweeps]
        except UserError as error:  # mostly that no trial has completed an epoch yet
            return waiting_page(" · ".join(results.name for results in self._sweeps), str(error))
        return make_page(tables, images=self._images, live=True)


def _as_of(results: Results) -> list[tuple[str, int, int]] | None:
    """Changes whenever a table does; None where nothing can be said without reading them, on object storage."""
    if not isinstance(results.path, Path):
        return None
    found = [(path.name, path.stat()) for path in sorted(results.path.glob("*.parquet"))]
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in found]


def make_server(page: LivePage, host: str = LOOPBACK, port: int = 0) -> ThreadingHTTPServer:
    """A server that shows one page and can do nothing else; `serve_forever` runs it.

    Raises:
        ResourceError: nobody can listen there.
    """

    class Handler(_Handler):
        current = page.current
        names = (*_LOCAL, host) if is_loopback(host) else ()

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ResourceError(
            f"--host {one_line(host)} --port {port}: nobody can listen there ({one_line(reason)}); leave --port out to "
            "take a free one, and --host for this machine alone"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(server: ThreadingHTTPServer) -> str:
    """What to type into a browser."""
    host, port = server.server_address[:2]
    return f"http://{host if isinstance(host, str) else host.decode()}:{port}/"


class _Handler(BaseHTTPRequestHandler):
    current: Callable[[], tuple[bytes, str]]
    names: tuple[str, ...]
    """What a browser may have called this machine; empty: anything. A page of another origin whose name was made to
    point here could otherwise read what is served (DNS rebinding)."""

    def do_GET(self) -> None:
        """Send the page, or only that it is the one which the browser has."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send what `do_GET` would, but the page."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        content, headers = b"", {"Cache-Control": "no-cache"}
        if self.names and self.headers.get("Host", "").rsplit(":", 1)[0] not in self.names:
            status = HTTPStatus.FORBIDDEN
        elif self.path.partition("?")[0] != "/":
            status = HTTPStatus.NOT_FOUND
        else:
            page, headers["ETag"] = type(self).current()
            known = headers["ETag"] in self.headers.get("If-None-Match", "")
            status = HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK
            if not known:
                content, headers["Content-Type"] = page, "text/html; charset=utf-8"
        self.send_response(status)
        if status != HTTPStatus.NOT_MODIFIED:
            headers["Content-Length"] = str(len(content))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing: what is asked here is of no interest on the terminal."""
