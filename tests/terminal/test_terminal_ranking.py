"""A ranking on the screen, and as JSON."""

import io
import json

import yaml
from rich.console import Console

from tlsweep.models.transferability import Scores
from tlsweep.spec import ModelSpec
from tlsweep.sweep.ranking import Ranked, Ranking
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
    assert lines[:-1] == [
        "network        weights        params  features          probe    kNN   LogME  H-score  seconds",
        "squeezenet1_1  squeezenet.v1    724k       512  0.900 ± 0.043  0.860  -0.400    0.900      3.1",
        "mobilenet_v2   random          2.23M     1,280          - ± -      -       -        -     20.0",
        "",
        "images  195 images for training, 49 for validation, 128 × 128 pixels",
        "order   by linear probe, then LogME; differences below two standard errors (±) are none",
        "best    the first; in a spec:",
        "",
    ]
    # One line whatever the width, so that it can be copied.
    assert yaml.safe_load(lines[-1]) == {"model": {"name": "squeezenet1_1", "weights": PATH}}


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
