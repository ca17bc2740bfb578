"""A ranking on the screen, and as JSON."""

import io
import json

import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console

from tlsweep.planning.ranking import Ranked, Ranking
from tlsweep.planning.transferability import Scores
from tlsweep.spec import ModelSpec
from tlsweep.terminal import print_ranking

PATH = "/a place/" + "long/" * 30 + "squeezenet.v1.pth"
RANKING = Ranking(
    by="probe",
    train_images=195,
    val_images=49,
    image_size=128,
    candidates=(
        Ranked(ModelSpec(name="squeezenet1_1", weights=PATH), 723_522, 512, Scores(-0.4, 0.9, 0.86, 0.9, 0.043), 3.14),
        Ranked(ModelSpec(name="mobilenet_v2"), 2_226_434, 1280, Scores(*[float("nan")] * 5), 20.0),
    ),
)


def printed(ranking: Ranking, width: int, *, as_json: bool = False) -> list[str]:
    stream = io.StringIO()
    print_ranking(Console(file=stream, width=width), ranking, as_json=as_json)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_the_page() -> None:
    lines = printed(RANKING, 100)
    assert lines[:-3] == [
        "network        weights        params  features          probe    kNN   LogME  H-score  seconds",
        "squeezenet1_1  squeezenet.v1    724k       512  0.900 ± 0.043  0.860  -0.400    0.900      3.1",
        "mobilenet_v2   random          2.23M     1,280          - ± -      -       -        -     20.0",
        "",
        "images  195 images for training, 49 for validation, 128 × 128 pixels",
        "order   by linear probe, then LogME; differences below two standard errors (±) are none",
        "best    the first; in a spec:",
        "",
    ]
    # A line for each field whatever the width, so that it can be copied.
    assert yaml.safe_load("\n".join(lines[-3:])) == {"model": {"name": "squeezenet1_1", "weights": PATH}}


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize(
    "file", ["squeezenet1_1-b8a52dc0.pth", "a-long-name-of-a-file/" + "x" * 70 + "-b8a52dc0.pth", "重み" * 30 + ".pth"]
)
def test_no_score_is_cut_away_and_no_line_to_copy_is_broken(file: str, width: int) -> None:
    models = [ModelSpec(name="my.own.package.networks:" + "make_it" * 9, weights=file), ModelSpec(name="resnet18")]
    ranked = [Ranked(model, 11_000_000, 512, Scores(-0.459, 0.897, 0.863, 0.889, 0.025), 5.1) for model in models]
    lines = printed(Ranking("probe", 195, 153, 128, tuple(ranked)), width)
    assert max(map(cell_len, lines[:6])) <= width
    assert all("0.889 ± 0.025  0.863  -0.459    0.897" in line for line in lines[1:3])
    assert lines[1].split()[0].startswith("my.own")
    assert lines[1].split()[0].endswith("make_it")
    section = "\n".join(lines[lines.index("best    the first; in a spec:") + 1 :])
    assert yaml.safe_load(section) == {"model": {"name": models[0].name, "weights": file}}


def test_the_section_of_the_best_makes_the_same_model() -> None:
    source = {"data": {"source": "digits", "domain": "source"}, "epochs": 3, "train": {"lr": 0.02}}
    for model in (
        ModelSpec(name="mlp", args={"hidden": [8]}),
        ModelSpec(weights=source),  # type: ignore[arg-type]
    ):
        best = Ranked(model, 10, 8, Scores(-0.4, 0.9, 0.86, 0.9, 0.04), 1.0)
        lines = printed(Ranking("knn", 10, 10, 8, (best,)), 80)
        section = yaml.safe_load("\n".join(lines[lines.index("best    the first; in a spec:") + 1 :]))
        assert ModelSpec(**section["model"]) == model


def test_as_json_what_is_no_number_is_null() -> None:
    facts = json.loads("\n".join(printed(RANKING, 40, as_json=True)))
    first, second = facts.pop("candidates")
    assert facts == {"by": "probe", "train_images": 195, "val_images": 49, "image_size": 128}
    assert first == {
        "model": {"name": "squeezenet1_1", "weights": PATH}, "parameters": 723_522, "features": 512, "logme": -0.4,
        "h_score": 0.9, "knn": 0.86, "probe": 0.9, "probe_error": 0.043, "seconds": 3.14,
    }  # fmt: skip
    assert (second["model"], second["probe"]) == ({"name": "mobilenet_v2", "weights": "none"}, None)
