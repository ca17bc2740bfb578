"""Writes the figures of a sweep as files of their own, for papers and slides."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal

from tlsweep.errors import UserError
from tlsweep.store.files import storage_fault
from tlsweep.text import one_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tlsweep.store import Results

Format = Literal["svg", "png", "pdf"]
INSTALL: Final = "pip install 'tlsweep[pictures]'"
_WIDTHS = {False: 760, True: 1160}
"""Pixels, of a figure that is one of two columns of the page, and of one that is as wide as both."""
_SCALE = 2
"""Pixels of a PNG for each of the figure's."""


def write_pictures(results: "Results", folder: Path, form: Format, metric: str | None = None) -> list[Path]:
    """Write each figure of a sweep into a folder, by its title: `learning-curves.svg`; their places.

    Chrome draws them, by plotly's own way of export (kaleido).

    Args:
        results: what to show.
        folder: is made if it is not there; files of the same names are written again.
        form: of the files.
        metric: by which trials are compared; default: that of the search.

    Raises:
        UserError: kaleido or a Chrome is missing, the folder cannot be written, or there is nothing to show yet.
    """
    if find_spec("kaleido") is None:
        raise UserError(f"pictures are drawn by kaleido, which is not installed: {INSTALL}")
    from tlsweep.report import figures

    tables = figures.load(results, metric)
    found = [figure for draw in figures.FIGURES if (figure := draw(tables)) is not None]
    if not found:
        raise UserError(f"'{results.name}' has nothing to draw yet")
    places = [folder / f"{_name(figure)}.{form}" for figure in found]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _draw(found, places)
    except OSError as error:
        if not storage_fault(error, folder):
            raise
        raise UserError(f"'{one_line(str(folder))}' cannot be written: {error.strerror}") from error
    return places


def _draw(found: "Sequence[go.Figure]", places: Sequence[Path]) -> None:
    import plotly.io as pio
    from choreographer.errors import BrowserFailedError, ChromeNotFoundError

    for figure in found:
        figure.update_layout(template="plotly_white")
    widths = [_WIDTHS[figure.layout.meta["wide"]] for figure in found]
    heights = [figure.layout.height for figure in found]
    try:
        # Beside where they belong, so that a file of an earlier time is not taken for one of now, nor lost for none.
        with TemporaryDirectory(prefix=".pictures-", dir=places[0].parent) as beside:
            drawn = [Path(beside, place.name) for place in places]
            pio.write_images(list(found), list(drawn), scale=_SCALE, width=widths, height=heights)
            for figure, file, width, height in zip(found, drawn, widths, heights, strict=True):
                # Of a figure that fails kaleido (1.5) removes the file or leaves an empty one, and plotly (7) says
                # nothing of it.
                if not file.exists() or not file.stat().st_size:
                    pio.write_image(figure, file, scale=_SCALE, width=width, height=height)
            for file, place in zip(drawn, places, strict=True):
                file.replace(place)
    except TimeoutError as error:
        raise UserError(
            "Chrome took more than a minute to draw a figure; write them again when this machine has less to do"
        ) from error
    except RuntimeError as error:
        # plotly makes one of its own of a Chrome that is not there (plotly/io/_kaleido.py).
        if not isinstance(error, BrowserFailedError) and not isinstance(error.__context__, ChromeNotFoundError):
            raise
        raise UserError(
            "pictures are drawn by a Chrome or Chromium, and none that works was found; install one, or name it in "
            "BROWSER_PATH; report --html needs none"
        ) from error


def _name(figure: "go.Figure") -> str:
    """A name for its file, by its title, which no other figure of a sweep has."""
    return re.sub(r"[^a-z0-9]+", "-", figure.layout.title.text.lower()).strip("-")
