"""Networks that are computed together have the numbers that each has by itself, whoever else is there."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tlsweep.models.plain import cnn, mlp
from tlsweep.models.stacked import StackedLayers, as_leaf, stack_layers, weight_view

SIDE, CLASSES = 8, 5
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: cnn(CLASSES, 2, SIDE, channels=(6, 9), dense=(7,)),
    "mlp": lambda: mlp(CLASSES, 2, SIDE),
    "head": lambda: nn.Sequential(nn.Flatten(), nn.Linear(2 * SIDE**2, CLASSES, bias=False)),
    "many kinds": lambda: nn.Sequential(
        nn.Conv2d(2, 4, (3, 1), padding=(1, 0), bias=False), nn.LeakyReLU(), nn.MaxPool2d(3, 2, padding=1),
        nn.Sequential(nn.Identity(), nn.Conv2d(4, 3, 1), nn.ReLU6(inplace=True), nn.Dropout(0.0)), nn.Flatten(),
        nn.Linear(48, 6), nn.Hardtanh(), nn.Linear(6, 7), nn.ReLU(inplace=True), nn.Linear(7, CLASSES),
    ),
    "layers that stand in several places": lambda: repeating(nn.ReLU(), nn.MaxPool2d(2)),
}  # fmt: skip


def repeating(relu: nn.Module, pool: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), relu, pool, nn.Conv2d(4, 3, 3, padding=1), relu, pool, nn.Flatten(),
        nn.Linear(12, 6), relu, nn.Linear(6, CLASSES),
    )  # fmt: skip


def stacked(modules: list[nn.Module]) -> tuple[StackedLayers, dict[str, Tensor]]:
    layers = stack_layers([("", modules[0])], rows=False)
    assert layers is not None
    each = [dict(module.named_parameters()) for module in modules]
    leaves = {
        name: torch.stack([as_leaf(own[name].detach()) for own in each]).contiguous().requires_grad_()
        for name in each[0]
    }
    return layers, leaves


def gradients(modules: list[nn.Module], images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (K, B, classes) of a stack, and the gradients of the mean loss of each, by the parameters' names."""
    layers, leaves = stacked(modules)
    logits = layers(leaves, images.permute(0, 1, 3, 4, 2) if layers.maps else images, lambda *_: None)
    F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(
        1
    ).sum().backward()  # type: ignore[no-untyped-call]
    return logits.detach(), {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def some(kind: str, count: int, batch: int, dtype: torch.dtype) -> tuple[list[nn.Module], Tensor, Tensor]:
    torch.manual_seed(count)
    modules = [NETWORKS[kind]().to(dtype) for _ in range(count)]
    images = torch.randn(count, batch, 2, SIDE, SIDE, dtype=dtype)
    return modules, images, torch.randint(CLASSES, (count, batch))


@pytest.mark.parametrize("kind", NETWORKS)
def test_they_are_the_networks_and_so_are_their_gradients(kind: str) -> None:
    """In float64, to 1e-10; torch's own layers and its autograd are what it is compared with."""
    modules, images, labels = some(kind, 3, 4, torch.float64)
    logits, found = gradients(modules, images, labels)
    for number, module in enumerate(modules):
        expected = module(images[number])
        F.cross_entropy(expected, labels[number]).backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(logits[number], expected.detach(), rtol=1e-10, atol=1e-10)
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(weight_view(found[name][number]), parameter.grad, rtol=1e-10, atol=1e-10)


@given(
    kind=st.sampled_from(sorted(NETWORKS)),
    batch=st.sampled_from([1, 2, 3, 4, 7, 8, 16]),
    members=st.permutations(range(12)).flatmap(lambda order: st.integers(1, 12).map(lambda count: order[:count])),
)
@example(kind="cnn", batch=1, members=[1, 3])
@settings(max_examples=60, deadline=None)
def test_the_numbers_of_one_depend_neither_on_the_others_nor_on_its_place(
    kind: str, batch: int, members: list[int]
) -> None:
    """Bit for bit: else a trial that goes on in another company would not go on as it would have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        modules, images, labels = some(kind, 12, batch, torch.float32)
        logits, found = gradients([modules[one] for one in members], images[members], labels[members])
        for place, one in enumerate(members):
            alone, own = gradients([modules[one]], images[one : one + 1], labels[one : one + 1])
            assert torch.equal(logits[place], alone[0])
            for name, gradient in own.items():
                assert torch.equal(found[name][place], gradient[0]), name
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", NETWORKS)
def test_multiplications_are_those_that_torch_counts(kind: str) -> None:
    module = NETWORKS[kind]()
    layers, _ = stacked([module])
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 2, SIDE, SIDE))
    assert layers.multiplications(SIDE) == counter.get_total_flops() / 2


def test_what_dropout_leaves_is_what_it_is_told() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(2, 2, bias=False))
    layers, leaves = stacked([module, module])
    asked: list[tuple[str, torch.Size]] = []

    def masks(name: str, values: Tensor) -> Tensor:
        asked.append((name, values.shape))
        return torch.tensor([[[0.0, 2.0]], [[2.0, 0.0]]])

    made = layers(leaves, torch.ones(2, 1, 2), masks)
    weight = module[2].weight
    assert torch.equal(made, torch.stack([2 * weight[:, 1], 2 * weight[:, 0]])[:, None])
    assert asked == [("1", torch.Size([2, 1, 2]))]


def watched(how: str, layer: nn.Module) -> nn.Module:
    """A layer that does more than its class says."""
    if how == "gradient":
        next(layer.parameters()).register_hook(lambda gradient: 2 * gradient)
    elif how == "forward":
        layer.forward = lambda values: 2 * values  # type: ignore[method-assign]
    else:
        getattr(layer, f"register_{how}")(lambda *_: None)
    return layer


def tied(layer: nn.Linear) -> nn.Module:
    other = nn.Linear(4, 4)
    other.weight = layer.weight
    return nn.Sequential(layer, other)


def twice(layer: nn.Linear) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU(), layer)


HOOKS = ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook", "gradient", "forward")


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 2, padding="same"), nn.GELU(),
        nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.MaxPool2d(2, ceil_mode=True), nn.Dropout2d(0.1), nn.Flatten(0),
        nn.LSTM(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ParameterList(),
        *(watched(how, nn.Linear(4, 4)) for how in HOOKS),
        *(watched(how, nn.Sequential(nn.Linear(4, 4))) for how in HOOKS),
        tied(nn.Linear(4, 4)), twice(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 1)),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_what_is_not_known_is_left_alone(layer: nn.Module) -> None:
    assert stack_layers([("", nn.Sequential(nn.Identity(), layer))], rows=True) is None
    assert stack_layers([("", nn.Sequential(nn.Conv2d(1, 4, 1), layer))], rows=False) is None


def test_a_linear_layer_that_sees_images_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    assert stack_layers([("", module)], rows=False) is None
    assert stack_layers([("", module[2:])], rows=False) is not None
