"""A ranking of backbones and weights on the screen: what `tlsweep rank` says."""

import math
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tlsweep.spec import ModelSpec
from tlsweep.spec.model import NO_WEIGHTS
from tlsweep.spec.yaml_text import write_yaml
from tlsweep.terminal.columns import Column, fit_table, named_lines
from tlsweep.terminal.console import to_json
from tlsweep.terminal.format import counted, score

if TYPE_CHECKING:
    from tlsweep.planning.ranking import Ranked, Ranking

_MEASURES = {"probe": "linear probe", "logme": "LogME", "h_score": "H-score", "knn": "nearest neighbours"}


def print_ranking(console: Console, ranking: "Ranking", *, as_json: bool = False) -> None:
    """A line for each candidate, the best first, and what to write into the spec to use that; or all of it as JSON."""
    if as_json:
        print(_as_json(ranking), file=console.file)
        return
    columns: list[Column[Ranked]] = [
        Column("network", lambda candidate: candidate.model.name, right=False),
        Column("weights", lambda candidate: _weights(candidate.model), right=False),
        Column("params", lambda candidate: _count(candidate.parameters), optional=1),
        Column("features", lambda candidate: f"{candidate.width:,}", optional=1),
        Column("probe", lambda candidate: f"{score(candidate.scores.probe)} ± {score(candidate.scores.probe_error)}"),
        Column("kNN", lambda candidate: score(candidate.scores.knn)),
        Column("LogME", lambda candidate: score(candidate.scores.logme)),
        Column("H-score", lambda candidate: score(candidate.scores.h_score)),
        Column("seconds", lambda candidate: f"{candidate.seconds:.1f}", optional=1),
    ]
    console.print(fit_table(columns, ranking.candidates, console.width))
    console.print()
    images = f"{counted(ranking.train_images, 'image')} for training, {ranking.val_images:,} for validation"
    lines = [
        ("images", f"{images}, {ranking.image_size} × {ranking.image_size} pixels"),
        ("order", f"by {_MEASURES[ranking.by]}, then LogME; differences below two standard errors (±) are none"),
        ("best", "the first; in a spec:"),
    ]
    console.print(named_lines(lines))
    console.print(Text(f"\n{_section(ranking.candidates[0].model)}"), soft_wrap=True)  # to be copied as it is


def _as_json(ranking: "Ranking") -> str:
    """Scores of features that are not finite are null."""
    rows = [
        {
            "model": _chosen(candidate.model),
            "parameters": candidate.parameters,
            "features": candidate.width,
            **{name: value if math.isfinite(value) else None for name, value in asdict(candidate.scores).items()},
            "seconds": candidate.seconds,
        }
        for candidate in ranking.candidates
    ]
    head = {"by": ranking.by, "train_images": ranking.train_images, "val_images": ranking.val_images}
    return to_json(head | {"image_size": ranking.image_size, "candidates": rows})


def _weights(model: ModelSpec) -> str:
    """Say where weights come from, a file by its name alone."""
    if model.weights is None:
        return "random"
    if isinstance(model.weights, str):
        return PurePath(model.weights).stem
    return "source task"


def _count(parameters: int) -> str:
    """Three digits: 72.8k, 2.23M, 138M."""
    unit, name = (1e6, "M") if parameters >= 1e6 else (1e3, "k")
    return f"{parameters / unit:.3g}{name}"


def _section(model: ModelSpec) -> str:
    """The section of a spec that says so: a line for each field, so that a long path is not wrapped with others."""
    return write_yaml({"model": _chosen(model)}, width=10**6).strip()


def _chosen(model: ModelSpec) -> dict[str, Any]:
    """What a spec must say, and no defaults."""
    return {"name": model.name, "weights": NO_WEIGHTS} | model.model_dump(mode="json", exclude_defaults=True)
