"""Mistakes that users make: exit code 2, one message with value, rule and way out, and nothing left behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine, Ended, assert_one_message, command_line
from in_process import Run
from users_files import write_images


@pytest.fixture
def tlsweep(tmp_path: Path) -> Iterator[CommandLine]:
    """An empty working directory, and no Ray that runs."""
    with command_line(tmp_path) as one:
        yield one


@pytest.fixture
def here(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """As `tlsweep`, in the folder where `run` runs it in this process, which would keep a Ray's files below `temp`."""
    with command_line(tmp_path) as one:
        monkeypatch.setenv("RAY_TMPDIR", str(one.temp))
        yield one


def one_class(cwd: Path) -> None:
    write_images(cwd / "images", cat=6)


def no_dogs_to_validate(cwd: Path) -> None:
    write_images(cwd / "images", train__cat=4, train__dog=4, val__cat=4)


def truncated_image(cwd: Path) -> None:
    write_images(cwd / "images", cat=12, dog=12)
    path = cwd / "images/dog/3.png"
    path.write_bytes(path.read_bytes()[:1000])


def no_class_folders(cwd: Path) -> None:
    (cwd / "images").mkdir()


def a_file(cwd: Path) -> None:
    (cwd / "file").touch()


def weights_of_another_network(cwd: Path) -> None:
    import torch
    from torchvision import models

    torch.save(models.squeezenet1_1(num_classes=2).state_dict(), cwd / "other.pth")


def nothing(cwd: Path) -> None:
    """The working directory stays empty."""


FROM_FOLDER = ["folder", "-o", "data.path=images", "-o", "model.weights=none", "-o", "data.image_size=32"]


@pytest.mark.parametrize(
    ("prepare", "arguments", "told"),
    [
        (nothing, ["digitz"], ["'digitz'", "no preset and no file", "did you mean the preset 'digits'?"]),
        (nothing, ["digits", "-o", "train.epochz=3"], ["train: unknown field 'epochz'", "did you mean 'epochs'?"]),
        (nothing, ["digits", "-o", "train.lr={uniform: [0.1, 0.01]}"],
         ["train.lr", "[0.1, 0.01]", "needs low < high", "swap them"]),
        (nothing, ["digits", "-o", "train.lr={loguniform: [0, 0.01]}"],
         ["train.lr", "[0, 0.01]", "needs bounds above 0", "raise it"]),
        (nothing, ["digits", "-o", "data.source=torchvision", "-o", "data.dataset=FashionMNST"],
         ["'FashionMNST'", "is not a class of torchvision.datasets", "did you mean 'FashionMNIST'?"]),
        (nothing, FROM_FOLDER, ["'images' does not exist", "wanted: train/CLASS/*.jpg"]),
        (no_class_folders, FROM_FOLDER, ["'images' has no class folders", "wanted: train/CLASS/*.jpg"]),
        (one_class, FROM_FOLDER, ["'images' has one class only, 'cat'", "at least two", "wanted: train/CLASS/*.jpg"]),
        (no_dogs_to_validate, FROM_FOLDER, ["class 'dog' has no images in the split 'val'", "add some"]),
        (truncated_image, FROM_FOLDER, ["1 of 24 files", "data.on_bad_image: skip", "dog/3.png"]),
        (a_file, ["digits", "--results", "file/results"], ["'file/results/digits'", "Not a directory", "--results"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_before_ray_starts(
    here: CommandLine, run: Run, prepare: Callable[[Path], None], arguments: list[str], told: list[str]
) -> None:
    prepare(here.cwd)
    assert_one_message(Ended(*run("launch", *arguments)), told)
    assert not here.results.exists()
    assert not here.ray_was_started()


@pytest.mark.slow
def test_a_mistake_that_is_found_while_ray_starts_is_one_message_too(tlsweep: CommandLine) -> None:
    ended = tlsweep.run("launch", "digits", "-o", "train.batch_size=4096")
    assert_one_message(ended, ["train.batch_size = 4096", "has only 100 images", "at most 100"])
    assert list(tlsweep.results.glob("*")) == []


@pytest.mark.parametrize(
    ("prepare", "arguments", "told"),
    [
        (nothing, ["digits", "-o", "model.name=resnet18", "-o", "model.weights=IMAGENET1K_V7"],
         ["'IMAGENET1K_V7'", "resnet18's weights (IMAGENET1K_V1, DEFAULT)", ".safetensors file"]),
        (nothing, ["digits", "-o", "model.weights=lost.pth"],
         ["'lost.pth'", "that exists", "none for random weights"]),
        (weights_of_another_network, ["digits", "-o", "model.name=resnet18", "-o", "model.weights=other.pth"],
         ["other.pth", "do not fit resnet18", "missing conv1.weight", "give weights of the same network"]),
        (nothing, ["digits", "-o", "model.name=resnet18", "-o", "train.drop_path={uniform: [0, 0.2]}"],
         ["train.drop_path", "the network has no branch", "leave train.drop_path out"]),
    ],
)  # fmt: skip
def test_a_mistake_that_only_the_network_shows_is_one_message_too(
    here: CommandLine, run: Run, prepare: Callable[[Path], None], arguments: list[str], told: list[str]
) -> None:
    prepare(here.cwd)
    assert_one_message(Ended(*run("check", *arguments)), told)
    assert list(here.results.glob("*")) == []


def test_a_name_that_is_taken_is_refused_and_what_lies_there_stays(here: CommandLine, run: Run) -> None:
    taken = here.results / "mine"
    taken.mkdir(parents=True)
    (taken / "journal.jsonl").touch()
    told = ["'results/mine' holds another sweep already", "another --name", "'tlsweep report mine'"]
    assert_one_message(Ended(*run("launch", "digits", "--name", "mine")), told)
    assert list(here.results.rglob("*")) == [taken, taken / "journal.jsonl"]
