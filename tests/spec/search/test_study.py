"""Arms follow from one line of the spec; weights to choose from are a hyperparameter."""

from typing import Any

import pytest

from tlsweep.errors import SpecError
from tlsweep.spec import SweepSpec, dump_spec, load_spec
from tlsweep.spec.search.study import study_override

BASE: dict[str, Any] = {
    "data": {"source": "digits", "labels_per_class": 7},
    "model": {"weights": {"data": {"source": "digits", "domain": "source"}}},
    "train": {"lr": {"loguniform": [1e-4, 1e-1]}},
    "search": {"strategy": "random", "trials": 4},
}
RANDOM_WEIGHTS = "model.weights=none"
CHOICE = "model.weights={choice: [none, a.pth, {data: {source: digits, domain: source}}]}"


@pytest.mark.parametrize(
    ("overrides", "arms"),
    [
        (["study=freeze"], "main freeze-backbone freeze-gradual"),
        (["study=freeze", "train.freeze=backbone"], "main freeze-nothing freeze-gradual"),
        (["study.few_labels=[5, 10]"], "main scratch labels-5 labels-5-scratch"),
        (["study.few_labels=[5, 10]", "controls=scratch"], "main scratch labels-5 labels-5-scratch"),
        (["study.few_labels=[5, 20, 10]", RANDOM_WEIGHTS], "main labels-10 labels-5"),
        (["study={freeze: true, few_labels: [1, 2]}"],
         "main scratch labels-1 labels-1-scratch freeze-backbone freeze-gradual"),
    ],
)  # fmt: skip
def test_each_study_has_its_arms(overrides: list[str], arms: str) -> None:
    assert load_spec(BASE, overrides).arms == tuple(arms.split())


def test_an_arm_differs_in_one_thing_from_what_it_is_set_against() -> None:
    spec = load_spec(BASE, ["study={freeze: true, few_labels: [5, 10]}"])
    few, scratch, frozen = (spec.arm(name) for name in ("labels-5", "labels-5-scratch", "freeze-backbone"))
    assert (few.labels_per_class, few.pretrained, few.control_of) == (5, True, "main")
    assert (scratch.labels_per_class, scratch.pretrained, scratch.control_of) == (5, False, "labels-5")
    assert (frozen.hyperparameters, frozen.pretrained, frozen.labels_per_class) == ({"freeze": "backbone"}, True, None)


def test_the_probe_is_an_arm_without_trials_and_needs_its_head() -> None:
    spec = load_spec(BASE, ["controls=[scratch, probe]"])
    assert (spec.arms, spec.trained_arms) == (("main", "scratch", "probe"), ("main", "scratch"))
    assert (spec.trials_in("probe"), spec.epochs_in("probe"), spec.arm("probe").pretrained) == (0, 0, True)
    with pytest.raises(SpecError, match="controls: probe is what trials begin with where train.head is probe, but it "):
        load_spec(BASE, ["controls=probe", "train.head=zero"])


def test_the_main_arm_has_the_most_labels() -> None:
    spec = load_spec(BASE, ["study.few_labels=[5, 50, 10]"])
    assert spec.data.labels_per_class == 50
    assert load_spec(BASE, ["study=freeze"]).data.labels_per_class == 7


@pytest.mark.parametrize("override", ["study=freeze", "study.few_labels=[5, 10]", CHOICE])
def test_the_complete_spec_reads_back(override: str) -> None:
    import yaml

    spec = load_spec(BASE, [override])
    assert load_spec(yaml.safe_load(dump_spec(spec))) == spec


@pytest.mark.parametrize(
    ("flag", "override"), [("freeze", "study=freeze"), ("few_labels=5,10", "study={few_labels: [5, 10]}")]
)
def test_the_flag_is_short_for_the_field(flag: str, override: str) -> None:
    assert load_spec(BASE, [study_override(flag)]) == load_spec(BASE, [override])


@pytest.mark.parametrize("study", ["freeze", {"freeze": True}])
def test_a_flag_adds_to_what_the_spec_says(study: Any) -> None:
    flags = [study_override("few_labels=5,10"), study_override("freeze")]
    both = load_spec(BASE, ["study={freeze: true, few_labels: [5, 10]}"])
    for one in (flags, flags[:1], flags[::-1]):
        assert load_spec({**BASE, "study": study}, one) == both
    assert load_spec(BASE, ["study=freeze", flags[0]]) == both


def test_a_flag_adds_to_no_other_word() -> None:
    with pytest.raises(SpecError, match="'few_labels' lies inside 'frieze', which has no fields"):
        load_spec({**BASE, "study": "frieze"}, [study_override("few_labels=5,10")])


@pytest.mark.parametrize("flag", ["frieze", "few_labels", "few_labels=", "few_labels=5,a", "freeze=1"])
def test_another_flag_is_refused(flag: str) -> None:
    with pytest.raises(SpecError, match="few_labels|frieze|freeze=1"):
        load_spec(BASE, [study_override(flag)])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["study=frieze"], "study = 'frieze': no study has this name; write freeze, federation, or"),
        (["study={few_label: [1, 2]}"], "study: unknown field 'few_label'; did you mean 'few_labels'?"),
        (["study.few_labels=[5]"], "study.few_labels: few_labels takes at least two different counts"),
        (["study.few_labels=[5, 5, 10]"], "at least two different counts of labels from 1"),
        (["study.few_labels=[0, 5]"], "at least two different counts of labels from 1"),
        (["study=freeze", RANDOM_WEIGHTS], "model.weights is trained, but they are none"),
        (["study=freeze", "train.freeze={choice: [nothing, backbone]}"], "train.freeze, which is searched"),
        (["model.weights={choice: [a.pth]}"], "model.weights.choice = ['a.pth']: takes at least two"),
        (["model.weights={choice: [a.pth, a.pth]}"], "two of the weights are called 'a.pth'"),
        (["model.weights={choice: [a.pth, {dat: 1}]}"], "model.weights.choice.1: unknown field 'dat'"),
        ([CHOICE, "search={strategy: pbt, mutate: [lr, weights]}"], "search.mutate names ['weights']"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_is_one_message(overrides: list[str], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(BASE, overrides)
    assert words in str(caught.value)


def test_weights_to_choose_from_are_searched_by_name() -> None:
    spec = load_spec(BASE, [CHOICE, "controls=scratch"])
    assert spec.space["weights"].extremes == ("none", "a.pth", "digits-source")
    assert list(spec.space_in("main")) == ["lr", "weights"]
    assert list(spec.space_in("scratch")) == ["lr"]
    assert spec.model.starting_from(spec.model.origins["a.pth"]).weights == "a.pth"
    named = load_spec(BASE, ["model.weights={choice: [none, {name: clean, data: {source: digits}}]}"])
    assert list(named.model.origins) == ["none", "clean"]


def test_a_grid_takes_all_weights() -> None:
    spec: SweepSpec = load_spec(BASE, [CHOICE, "search={strategy: grid}", "train.lr={choice: [0.1, 0.2]}"])
    points = [spec.grid_point(number) for number in range(spec.trials_per_arm)]
    assert [(one["lr"], one["weights"]) for one in points] == [
        (lr, name) for lr in (0.1, 0.2) for name in ("none", "a.pth", "digits-source")
    ]
