"""`rank`: which candidates there are, in which order they come, and that the pretrained ones come first."""

import json
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tlsweep.cli import app
from tlsweep.data import load_task
from tlsweep.errors import ModelError, SpecError
from tlsweep.planning import make_ranking
from tlsweep.planning.ranking import _candidates, _order, _some
from tlsweep.planning.transferability import Scores
from tlsweep.spec import ModelSpec, SourceTask, SweepSpec, load_spec

SOURCE = {"data": {"source": "digits", "domain": "source"}, "epochs": 3, "train": {"lr": 0.01, "optimizer": "adam"}}


def digits(**model: object) -> SweepSpec:
    data = {"source": "digits", "labels_per_class": 10}
    return load_spec({"data": data, "model": model, "search": {"strategy": "random"}})


def test_the_candidates_are_the_spec_s_own_and_what_is_added_each_once() -> None:
    own = ModelSpec(name="cnn", weights="cnn.pth", args={"dense": [32]})
    found = _candidates(own, ["cnn=cnn.pth", "cnn=b=c.pth", "own.code:net", "resnet18=DEFAULT", "cnn=none"])
    assert [(one.name, one.weights, one.args) for one in found] == [
        ("cnn", "cnn.pth", {"dense": [32]}),
        ("cnn", None, {"dense": [32]}),
        ("cnn", "b=c.pth", {"dense": [32]}),
        ("own.code:net", None, {}),
        ("resnet18", "DEFAULT", {}),
    ]


def test_weights_that_are_searched_are_candidates_all() -> None:
    own = digits(name="cnn", weights={"choice": ["a.pth", SOURCE, "none"]}).model
    first, second, third = _candidates(own, [])
    assert (first.weights, third.weights) == ("a.pth", None)
    assert isinstance(second.weights, SourceTask)


@pytest.mark.parametrize(
    ("candidate", "error", "told"),
    [
        ("=a.pth", SpecError, "candidate '=a.pth' names no network; write MODEL or MODEL=WEIGHTS"),
        ("resnet81", ModelError, "unknown network 'resnet81'; did you mean"),
        ("mlp=nowhere.pth", ModelError, "model.weights 'nowhere.pth' is neither"),
        ("alexnet", ModelError, "alexnet does not take images of 8x8 pixels"),
    ],
)
def test_a_candidate_that_does_not_fit_is_refused_before_anything_is_computed(
    candidate: str, error: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsweep.pretrained.features.features", None)
    with pytest.raises(error, match=told):
        make_ranking(digits(name="cnn"), [candidate])


def test_the_order_is_by_the_score_then_by_logme_and_nan_is_last() -> None:
    nan = float("nan")
    all_scores = {
        "worse": Scores(logme=9.0, h_score=1.0, knn=0.5, probe=0.8, probe_error=0.1),
        "broken": Scores(nan, nan, nan, nan, nan),
        "equal, less evidence": Scores(logme=-1.0, h_score=3.0, knn=0.6, probe=0.9, probe_error=0.1),
        "best": Scores(logme=1.0, h_score=2.0, knn=0.7, probe=0.9, probe_error=0.1),
    }

    def order(by: str) -> list[str]:
        return sorted(all_scores, key=lambda name: _order(all_scores[name], by), reverse=True)  # type: ignore[arg-type]

    assert order("probe") == ["best", "equal, less evidence", "worse", "broken"]
    assert order("logme")[0] == "worse"
    assert order("h_score")[0] == "equal, less evidence"
    assert order("knn") == ["best", "equal, less evidence", "worse", "broken"]


def test_of_many_images_a_share_of_each_class_is_drawn() -> None:
    task = load_task(digits().data, 0)
    some = _some(task, "val", 50, seed=1)
    assert set(some) <= set(task.splits["val"])
    assert 50 <= len(some) <= 60
    assert {int((task.labels[some] == label).sum()) for label in range(10)} <= {4, 5, 6}
    assert some.tolist() == _some(task, "val", 50, seed=1).tolist() != _some(task, "val", 50, seed=2).tolist()
    assert _some(task, "val", 10**6, seed=1) is task.splits["val"]


def test_weights_of_a_source_task_come_before_random_ones_and_twice_the_same() -> None:
    spec = digits(name="cnn", weights=SOURCE)
    first, again = (make_ranking(spec, ["mlp"], images=80) for _ in range(2))
    assert isinstance(first.candidates[0].model.weights, SourceTask)
    assert [one.width for one in first.candidates] == [64, 64, 64]
    assert first.candidates[0].parameters == 72_842
    assert (first.train_images, first.image_size) == (80, 8)
    assert 80 <= first.val_images < 90
    assert [(one.model, one.scores) for one in first.candidates] == [
        (one.model, one.scores) for one in again.candidates
    ]


def test_the_verb_prints_a_table_or_json() -> None:
    changes = [part for change in ("model={name: mlp}", "controls=[]") for part in ("-o", change)]
    arguments = ["rank", "digits", *changes, "-c", "cnn", "--images", "50"]
    shown = CliRunner().invoke(app, [*arguments, "--by", "logme"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "features of cnn, random weights: validation images" in shown.stdout
    assert "order   by LogME" in shown.stdout
    rows = [line.split()[:2] for line in shown.stdout.splitlines() if "±" in line]
    assert sorted(rows)[:2] == [["cnn", "random"], ["mlp", "random"]]
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert sorted(one["model"]["name"] for one in facts["candidates"]) == ["cnn", "mlp"]
    assert CliRunner().invoke(app, [*arguments, "--by", "luck"]).exit_code == 2


@pytest.mark.slow
@pytest.mark.data
def test_of_ants_and_bees_both_pretrained_networks_come_first_within_two_minutes(
    test_data: Path, tmp_path: Path
) -> None:
    weights = test_data / "weights"
    squeezenet = str(weights / "squeezenet1_1_imagenet1k_v1_fp16rounded.pth")
    mobilenet = str(weights / "mobilenet_v2_imagenet_tfqat_dequant.pth")
    data = {"source": "folder", "path": str(test_data / "datasets" / "hymenoptera_data"), "on_bad_image": "skip"}
    spec = {
        "data": data | {"image_size": 96},
        "model": {"name": "squeezenet1_1", "weights": squeezenet},
        "search": {"strategy": "random"},
    }
    (tmp_path / "ants.yaml").write_text(yaml.safe_dump(spec))
    arguments = ["rank", str(tmp_path / "ants.yaml"), "-c", f"mobilenet_v2={mobilenet}", "-c", "mobilenet_v2", "--json"]
    began = time.monotonic()
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert time.monotonic() - began < 120
    *first, third, fourth = json.loads(done.stdout)["candidates"]
    assert {one["model"]["weights"] for one in first} == {squeezenet, mobilenet}
    assert {one["model"]["weights"] for one in (third, fourth)} == {"none"}
    for name in ("probe", "knn", "logme"):  # each of them alone would have found it
        assert min(one[name] for one in first) > max(one[name] for one in (third, fourth))
