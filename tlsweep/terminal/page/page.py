"""Puts findings and figures of sweeps into one HTML file."""

import base64
import hashlib
import html
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tlsweep.errors import UserError
from tlsweep.report import SweepTables, describe_model, describe_search
from tlsweep.store import Location, Results
from tlsweep.store.files import write_text
from tlsweep.terminal.outcome import headline
from tlsweep.terminal.page.findings import findings
from tlsweep.text import one_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tlsweep.inference.gallery import Gallery

_LIGHT = {"ink": "#1c2128", "soft": "#5d6673", "grid": "#e4e7ec", "card": "#ffffff"}
_DARK = {"ink": "#e4e8ee", "soft": "#9aa4b2", "grid": "#2c333d", "card": "#181d24"}


def write_page(sweeps: Sequence[Results], metric: str | None = None, *, images: bool = False) -> Location:
    """Write the page into the folder of the first sweep, `report.html`, of several `comparison.html`; its place.

    Args:
        sweeps: what to show.
        metric: by which trials are compared; default: that of the search.
        images: show some of the data set's, with one sweep.
    """
    from tlsweep.report import figures

    place = sweeps[0].path / ("report.html" if len(sweeps) == 1 else "comparison.html")
    write_text(place, make_page([figures.load(results, metric) for results in sweeps], images=images))
    return place


def make_page(sweeps: Sequence[SweepTables], *, images: bool = False, live: bool = False) -> str:
    """The whole page. Everything in it that others wrote is text: in HTML, in plotly's labels and in the JSON.

    Args:
        sweeps: what to show.
        images: see `write_page`.
        live: it is served, and asks again and again whether there is more to show.
    """
    title = " · ".join(tables.name for tables in sweeps)
    charts: list[dict[str, Any]] = []
    body = [_head(tables) for tables in sweeps] + _sections(sweeps, charts)
    if images and len(sweeps) == 1:
        body.append(_pictures(sweeps[0]))
    return _document(title, body, charts, live=live)


def waiting_page(name: str, told: str) -> str:
    """What is served of a sweep that has nothing to show yet."""
    return _document(name, [f"<header><h1>{_text(name)}</h1><p>{_text(told)}</p></header>"], [], live=True)


def _document(title: str, body: Sequence[str], charts: Sequence[dict[str, Any]], *, live: bool) -> str:
    from tlsweep.report.figures import library as plotly

    data = {"charts": charts, "templates": {"light": _template(_LIGHT), "dark": _template(_DARK)}, "live": live}
    here = files("tlsweep.terminal.page")
    library, script = plotly(), (here / "page.js").read_text(encoding="utf-8")
    # Only these two scripts run, by their digests: markup that came in with a name could not, were it not escaped.
    # Nothing may be loaded from anywhere, but for a page that is served from where it is itself. plotly sets styles of
    # its own (content security policy, W3C CSP 3).
    policy = (
        f"default-src 'none'; script-src {_digest(library)} {_digest(script)}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; font-src data:{'; connect-src ' + repr('self') if live else ''}"
    )
    return "\n".join([
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">', '<link rel="icon" href="data:,">',
        f"<title>{_text(title)}</title>",
        f"<style>{(here / 'page.css').read_text(encoding='utf-8')}</style>",
        "</head>", "<body>", '<p id="live" role="status"></p>' if live else "", "<main>", *body, "</main>",
        f'<script type="application/json" id="data">{_json(data)}</script>',
        f"<script>{library}</script>", f"<script>{script}</script>", "</body>", "</html>", "",
    ])  # fmt: skip


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    return html.escape(one_line(text))


def _json(value: Any) -> str:
    """JSON that no parser of HTML takes for anything else (`</script>`, `<!--`)."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _head(tables: SweepTables) -> str:
    told = "".join(f"<li>{_text(finding)}</li>" for finding in findings(tables))
    summary = headline(tables).removeprefix(f"{tables.name}: ")
    return (
        f"<header><h1>{_text(tables.name)}</h1><p>{_text(summary)}</p>"
        f"<p>{_text(describe_search(tables.spec))}; {_text(describe_model(tables.spec))}</p><ul>{told}</ul></header>"
    )


def _sections(sweeps: Sequence[SweepTables], charts: list[dict[str, Any]]) -> list[str]:
    """The figures; of several sweeps first how they compare, then each figure of all of them side by side."""
    from tlsweep.report import figures

    rows = [[(tables.name, figure(tables)) for tables in sweeps] for figure in figures.FIGURES]
    if len(sweeps) > 1:
        rows = [[("", figures.best_so_far(sweeps, over))] for over in ("device", "wall")] + rows
    sections = []
    for row in rows:
        found = [(name, figure) for name, figure in row if figure is not None]
        cards = [_card(figure, name if len(sweeps) > 1 else "", charts) for name, figure in found]
        if cards:
            sections.append(f"<section>{''.join(cards)}</section>" if len(sweeps) > 1 else cards[0])
    if len(sweeps) == 1:
        return [f"<section>{''.join(sections)}</section>"]
    return sections


def _card(figure: "go.Figure", name: str, charts: list[dict[str, Any]]) -> str:
    from tlsweep.report.figures.style import TITLE

    # plotly's own JSON: it knows its types, and makes null of what is not finite.
    drawn = json.loads(figure.to_json())
    layout = drawn["layout"]
    layout.pop("template", None)
    title, meta = layout.pop("title")["text"], layout.pop("meta")
    layout["height"] -= TITLE
    layout["margin"]["t"] -= TITLE
    charts.append({"data": drawn["data"], "layout": layout})
    of = f" <small>{_text(name)}</small>" if name else ""
    return (
        f"<figure{' class=wide' * meta['wide']}><h2>{_text(title)}{of}</h2>"
        f'<div class="chart" data-chart="{len(charts) - 1}" '
        f'style="height:{layout["height"]}px" role="img" aria-label="{_text(title)}"></div>'
        f"{_caption(meta['caption'])}</figure>"
    )


def _pictures(tables: SweepTables) -> str:
    """Images that the winner gets wrong, or why they cannot be shown."""
    from tlsweep.inference.gallery import galleries

    try:
        found = galleries(tables)
    except UserError as error:
        cards = [f'<figure class="wide"><h2>Images</h2>{_caption(f"They are not shown: {error}")}</figure>']
    else:
        cards = [_gallery(gallery) for gallery in found]
    return f"<section>{''.join(cards)}</section>" if cards else ""


def _gallery(gallery: "Gallery") -> str:
    shown = []
    for picture in gallery.pictures:
        name, source = _text(picture.name), f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
        shown.append(
            f'<li><img src="{source}" alt="{name}" title="{name}"><b>{_text(picture.label)}</b>'
            f"<span>{_text(picture.told)}</span><small>{_text(os.path.basename(picture.name))}</small></li>"
        )
    return (
        f'<figure class="wide"><h2>{_text(gallery.title)}</h2><ul class="images">{"".join(shown)}</ul>'
        f"{_caption(gallery.caption)}</figure>"
    )


def _caption(text: str) -> str:
    return f"<figcaption>{_text(text)}</figcaption>"


def _template(colours: dict[str, str]) -> dict[str, Any]:
    axis = {"gridcolor": colours["grid"], "linecolor": colours["grid"], "zerolinecolor": colours["grid"]}
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "xaxis": axis, "yaxis": axis,
            "font": {"color": colours["ink"], "size": 12, "family": "system-ui, sans-serif"},
            "hoverlabel": {
                "bgcolor": colours["card"], "bordercolor": colours["soft"],
                "font": {"color": colours["ink"]}, "align": "left",
            },
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colours["soft"], "activecolor": colours["ink"]},
        }
    }  # fmt: skip
