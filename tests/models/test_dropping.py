"""Rates of dropout and stochastic depth: as if the network had been built with them."""

import pytest
import torch
from families import FAMILIES
from torch import nn

from tlsweep.errors import ModelError
from tlsweep.models import validate_model
from tlsweep.models.architectures import construct
from tlsweep.models.dropping import DROPPING, check_dropping, drop_paths, dropouts, set_dropping
from tlsweep.spec import Hyperparameters, ModelSpec

WITHOUT_DROPOUT = {
    "convnext_tiny", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x0_5"
}  # fmt: skip
WITH_DROP_PATH = {"convnext_tiny", "efficientnet_b0", "maxvit_t", "swin_t", "swin_v2_t"}


def built(name: str, **args: float) -> nn.Module:
    size = 224 if name in ("maxvit_t", "vit_b_32") else 64
    return construct(ModelSpec(name=name, args=args), 3, 3, size, without_values=True)


def rates(module: nn.Module, name: str) -> list[float]:
    return [getattr(layer, attribute) for layer, attribute in DROPPING[name](module)]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_layers_of_every_family_are_found_or_their_lack_is_said(name: str) -> None:
    module = built(name)
    for field, has_some in (("dropout", name not in WITHOUT_DROPOUT), ("drop_path", name in WITH_DROP_PATH)):
        if has_some:
            check_dropping(module, field)
            continue
        with pytest.raises(
            ModelError, match=rf"train\.{field}: the network has no .+; leave train\.{field} out, write"
        ):
            check_dropping(module, field)


@pytest.mark.parametrize(
    ("name", "field", "argument"),
    [
        ("squeezenet1_1", "dropout", "dropout"), ("vit_b_32", "dropout", "dropout"),
        ("densenet121", "dropout", "drop_rate"), ("efficientnet_b0", "drop_path", "stochastic_depth_prob"),
        ("convnext_tiny", "drop_path", "stochastic_depth_prob"),
    ],
)  # fmt: skip
def test_it_is_as_if_torchvision_had_built_the_network_with_it(name: str, field: str, argument: str) -> None:
    theirs, ours = built(name, **{argument: 0.3}), built(name)
    expected = rates(theirs, field)
    set_dropping(ours, Hyperparameters.model_validate({field: max(expected)}))
    assert rates(ours, field) == pytest.approx(expected)
    set_dropping(ours, Hyperparameters())
    assert rates(ours, field) == pytest.approx(expected)


class DropPath(nn.Module):
    """As timm's."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_prob = 0.0


def test_rates_that_are_all_zero_grow_with_depth() -> None:
    module = nn.Sequential(nn.Linear(1, 1), *(DropPath() for _ in range(4)))
    set_dropping(module, Hyperparameters(drop_path=0.2))
    assert rates(module, "drop_path") == pytest.approx([0.05, 0.1, 0.15, 0.2])
    set_dropping(module, Hyperparameters(drop_path=0.0))
    assert rates(module, "drop_path") == [0, 0, 0, 0]


def test_what_is_called_alike_and_is_no_rate_is_left_alone() -> None:
    module = nn.Identity()
    module.drop_rate, module.drop_prob = True, None  # type: ignore[assignment]
    assert not [*dropouts(module), *drop_paths(module)]


def test_a_network_without_such_layers_is_refused_before_it_is_trained() -> None:
    shape = {"num_classes": 3, "channels": 3, "image_size": 64}
    validate_model(ModelSpec(name="squeezenet1_1"), **shape, dropping=["dropout"])
    with pytest.raises(ModelError, match=r"train\.dropout: the network has no dropout layer"):
        validate_model(ModelSpec(name="resnet18"), **shape, dropping=["dropout"])


def test_a_rate_of_zero_draws_nothing() -> None:
    generator = torch.get_rng_state()
    nn.Dropout(0.0).train()(torch.ones(3))
    assert torch.equal(torch.get_rng_state(), generator)
