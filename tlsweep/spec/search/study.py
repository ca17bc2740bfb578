"""Arms: trials beside the main ones, with the same configurations and seeds, that differ in one thing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tlsweep.errors import SpecError
from tlsweep.spec.base import SpecModel
from tlsweep.spec.federation import Federated, Split
from tlsweep.spec.federation.fitting import OF_FEDERATION
from tlsweep.spec.hyperparameters import Hyperparameters
from tlsweep.spec.search.space import Value
from tlsweep.spec.search.tutorial import TUTORIAL
from tlsweep.text import shortened

Control = Literal["scratch", "no-explore", "hyperrule", "probe", "tutorial"]
MAIN_ARM = "main"
SCRATCH_ARM: Control = "scratch"
NO_EXPLORE_ARM: Control = "no-explore"
HYPERRULE_ARM: Control = "hyperrule"
PROBE_ARM: Control = "probe"
TUTORIAL_ARM: Control = "tutorial"
CENTRAL_ARM = "central"
SOUP_ARM = "soup"
"""The average of the main arm's best networks (`soup`)."""


@dataclass(frozen=True)
class Arm:
    """What is special about the trials of an arm; everything else is as the spec says, and equal in all arms."""

    name: str
    control_of: str | None = MAIN_ARM
    """The arm that its result is set against; None for the main arm."""
    pretrained: bool = True
    """Whether its trials start from `model.weights`; else from random ones."""
    explore: bool = True
    """Whether a population mutates."""
    random_head: bool = False
    """Whether its heads begin with torch's own initialisation, whatever `train.head` says."""
    labels_per_class: int | None = None
    """Training images of each class, some of the main arm's; None: all of them."""
    hyperparameters: Mapping[str, Value] = field(default_factory=dict)
    """Values that are the same in all its trials, whatever `train` says."""
    federated: Federated | None = None
    """In place of `train.federated`; None: as there."""
    trials: int | None = None
    """Configurations, each trained to the end; None: as many as the main arm, under the rules of the search. Of 0 the
    result follows from the main arm: what its trials begin with, or an average of them."""


NAMED_STUDIES: Final = ("freeze", "federation")
"""Those that a name turns on."""


class Study(SpecModel):
    """The `study:` section: questions that more arms answer, at the main arm's budget each."""

    freeze: bool = False
    """Beside `train.freeze`, an arm for each other way to freeze: `freeze-nothing`, `freeze-backbone`,
    `freeze-gradual`. In short: `study: freeze`."""
    few_labels: tuple[int, ...] = Field((), max_length=100)
    """A learning curve over these numbers of training labels of each class. The most are the main arm's, in place of
    `data.labels_per_class`; each fewer n has the arm `labels-n`, with some of the same images. Where the model has
    weights, each has a control that starts from random ones: `scratch`, `labels-n-scratch`."""
    federation: bool = False
    """What dividing the images costs, at as many images seen: beside `train.federated`, the arms `central` (one network
    sees all images), `iid` and `dirichlet-0.1`, those that the main arm is not. In short: `study: federation`."""

    @model_validator(mode="before")
    @classmethod
    def _a_name_turns_it_on(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in NAMED_STUDIES:
            raise PydanticCustomError(
                "study", "no study has this name; write freeze, federation, or {few_labels: [5, 10, 25]}"
            )
        if isinstance(value, str):
            return {value: True}
        return {} if value is None else value

    @field_validator("few_labels")
    @classmethod
    def _counts_of_labels(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if counts and (len(set(counts)) < 2 or len(set(counts)) < len(counts) or min(counts) < 1):
            raise ValueError(
                f"few_labels takes at least two different counts of labels from 1, such as [5, 10, 25], not "
                f"{shortened(str(list(counts)))}"
            )
        return tuple(sorted(counts, reverse=True))

    def arms_with(self, labels: int) -> tuple[str, str]:
        """The names of the arm with `labels` labels of each class, and of its control from random weights."""
        if labels == max(self.few_labels):
            return MAIN_ARM, SCRATCH_ARM
        return f"labels-{labels}", f"labels-{labels}-{SCRATCH_ARM}"


def study_override(text: str) -> str:
    """What `--study` stands for as an override: `freeze`, `federation`, or `few_labels=5,10,25`.

    Raises:
        SpecError: neither.
    """
    name, _, counts = text.partition("=")
    if name == "few_labels" and counts:
        return f"study.few_labels=[{counts}]"
    if text not in NAMED_STUDIES:
        raise SpecError(f"--study '{shortened(text)}': write freeze, federation, or few_labels=5,10,25")
    return f"study.{text}=true"


def arms_of(
    controls: Iterable[Control],
    study: Study,
    *,
    weights: bool,
    freeze: Value,
    rule: Mapping[str, Value],
    rivals: Mapping[str, Mapping[str, Value]],
    federated: Federated | None = None,
    soup: bool = False,
) -> tuple[Arm, ...]:
    """All arms, the main one first.

    Args:
        controls: `controls:` of the spec.
        study: `study:` of the spec.
        weights: whether the main arm starts from any.
        freeze: `train.freeze`.
        rule: what the HyperRule chooses.
        rivals: what other recipes that are trained beside the main one begin with, by name.
        federated: `train.federated`.
        soup: whether the best networks of the main arm are averaged, or the best one with what it began with.
    """
    arms = [Arm(MAIN_ARM, control_of=None)]
    arms += [Arm(name, hyperparameters=values) for name, values in rivals.items()]
    arms += [_control(name, rule) for name in controls]
    if study.few_labels and weights and SCRATCH_ARM not in controls:
        arms.append(_control(SCRATCH_ARM, rule))
    for count in study.few_labels[1:]:
        few, scratch = study.arms_with(count)
        arms.append(Arm(few, labels_per_class=count))
        if weights:
            arms.append(Arm(scratch, control_of=few, pretrained=False, labels_per_class=count))
    if study.freeze:
        ways = get_args(Hyperparameters.model_fields["freeze"].annotation)
        arms += [Arm(f"freeze-{way}", hyperparameters={"freeze": way}) for way in ways if way != freeze]
    if study.federation and federated:
        arms += _federations(federated)
    if soup:
        arms.append(Arm(SOUP_ARM, trials=0))
    return tuple(arms)


def _federations(main: Federated) -> list[Arm]:
    """The arms of `study: federation`, in which a round, or an epoch, sees as many images as in the main arm's."""
    # One client that sees all of them, by a server that changes nothing, is central training.
    alone = Federated(clients=1, local_epochs=max(1, round(main.passes)))
    central = Arm(CENTRAL_ARM, hyperparameters=dict(OF_FEDERATION), federated=alone)
    splits = [split for split in (Split(), Split(dirichlet=0.1)) if split != main.split]
    return [central, *(Arm(split.in_words, federated=main.model_copy(update={"split": split})) for split in splits)]


def _control(name: Control, rule: Mapping[str, Value]) -> Arm:
    """An arm of `controls:`."""
    if name == HYPERRULE_ARM:
        return Arm(name, hyperparameters=rule, trials=1)
    if name == PROBE_ARM:
        return Arm(name, trials=0)
    if name == TUTORIAL_ARM:
        return Arm(name, random_head=True, hyperparameters=TUTORIAL.model_dump(), trials=1)
    return Arm(name, pretrained=name != SCRATCH_ARM, explore=name != NO_EXPLORE_ARM)
