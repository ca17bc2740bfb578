"""A whole study on a real Ray: several source tasks, few labels, what is written about each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from completeness import assert_complete

from tlsweep.errors import SpecError
from tlsweep.pretrained.features import feature_cache
from tlsweep.report import arm_results, learning_curve, load_tables
from tlsweep.spec import load_spec
from tlsweep.sweep import launch, resume
from tlsweep.sweep.debugging import debug_trial
from tlsweep.sweep.resuming import stored_spec

SOURCES = """{choice: [{name: long, data: {source: digits, domain: source}, epochs: 3},
  {name: short, data: {source: digits, domain: source}, epochs: 1}]}"""


@pytest.mark.slow
def test_sources_are_a_hyperparameter_and_every_arm_is_tested(ray_address: str, tmp_path: Path) -> None:
    spec = load_spec("digits", [
        f"model={{name: mlp, args: {{hidden: [16]}}, weights: {SOURCES}}}", "study.few_labels=[2, 5]",
        "search={strategy: random, trials: 3}", "train.epochs=2", "train.batch_size=8",
    ])  # fmt: skip
    results = launch(spec, results=tmp_path, address=ray_address)
    reports, trials = assert_complete(results), results.to_pandas("trials")
    pretrained = trials.query("arm in ('main', 'labels-2')")
    assert set(pretrained.weights) == {"long", "short"}
    assert set(trials.query("arm in ('scratch', 'labels-2-scratch')").weights) == {"none"}
    assert (reports.groupby("trial").weights.nunique() == 1).all()
    assert set(reports.query("epoch == 1 and arm == 'labels-2'").samples) == {20}
    assert set(reports.query("epoch == 1 and arm == 'main'").samples) == {50}

    facts = results.environment["weights"]["choice"]
    assert len({one["sha256"] for one in facts.values()}) == 2
    tables = load_tables(results)
    arms = arm_results(tables)
    assert all(one.test_accuracy and one.test_accuracy.value == pytest.approx(one.test["accuracy"]) for one in arms)
    assert [point.labels_per_class for point in learning_curve(spec, arms)] == [2, 5]
    recipe, winner = yaml.safe_load(results.folder.recipe.read_text()), results.winner()
    assert winner is not None
    assert recipe["model"]["weights"]["name"] == winner.hyperparameters["weights"]

    other = stored_spec(results.folder)
    other["model"]["weights"]["choice"][1]["epochs"] = 2
    results.folder.spec.write_text(yaml.safe_dump(dict(other)))
    with pytest.raises(SpecError, match=r"model\.weights\.choice"):
        resume(results.name, results=tmp_path, address=ray_address)


@pytest.mark.slow
def test_heads_behind_frozen_layers_share_features_and_have_the_figures_of_a_trial_alone(tmp_path: Path) -> None:
    """On a Ray of its own, whose workers keep features where this test looks; a trial in this process keeps none."""
    spec = load_spec("digits", [
        "model={name: cnn, args: {dense: [24], dropout: 0.2}, weights: {data: {source: digits, domain: source}, "
        "epochs: 2}}", "data.augment=none", "train.freeze=backbone", "train.head=zero", "train.epochs=3", "controls=[]",
        "search={strategy: random, trials: 3}", "train.batch_size=8",
    ])  # fmt: skip
    kept = feature_cache()
    before = set(kept.glob("*.npy"))
    results = launch(spec, results=tmp_path, local=True, dashboard=False)
    assert len(set(kept.glob("*.npy")) - before) == 1
    alone: list[Mapping[str, Any]] = []
    debug_trial(spec, report=alone.append)
    found = results.to_pandas("reports").query("trial == 't0000'").sort_values("epoch")
    for name in ("train_loss", "val_loss"):
        assert found[name].tolist() == pytest.approx([row[name] for row in alone], rel=1e-6)
