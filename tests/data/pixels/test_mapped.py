"""Sets that memory has no room for: decoded once into a file, on every machine, or said to be decoded again."""

import multiprocessing
import os
import pickle
import re
import shutil
import signal
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import folder_data, write_folder

from tlsweep.data import Task, load_task
from tlsweep.data.pixels import mapped as module
from tlsweep.data.pixels.mapped import Mapped, PixelFile
from tlsweep.data.pixels.streamed import Streamed

BYTES = 40 * 64 * 64 * 3
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images", {"ant": 20, "bee": 20}, size=(90, 80), suffix=".jpg")


def load(root: Path, cache: Path, **fields: Any) -> Task:
    return load_task(folder_data(root, **{"image_size": 64, "memory_limit": "10KB"} | fields), 0, cache=cache)


def everything(images: Any) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = images.load(np.arange(40))
    return pixels


def test_a_set_is_decoded_once_into_the_file_that_one_in_memory_has(root: Path, tmp_path: Path) -> None:
    task = load(root, tmp_path / "c")
    assert isinstance(task.images, Mapped)
    assert task.remarks == ()
    assert len(pickle.dumps(task.images)) < 10_000
    opened = pickle.loads(pickle.dumps(task.images)).open()
    shutil.rmtree(root / "ant")  # nothing is decoded again
    some = np.array([3, 39, 0, 3])
    stored = np.load(next((tmp_path / "c" / "images").glob("*/images.npy")))
    assert np.array_equal(opened.load(some), stored[some])
    assert not opened.load(some[:0]).size


@pytest.mark.parametrize(
    ("fields", "free", "reason"),
    [
        ({"disk_limit": 0}, 2**40, None),
        ({"disk_limit": BYTES}, 2 * BYTES, None),
        ({"disk_limit": BYTES - 1}, 2**40, r"they take 0.0 GiB, above data.disk_limit: 0.0 GiB; raise it"),
        ({}, 2 * BYTES - 1, r"40 decoded images take 0.0 GiB, more than half of the 0.0 GiB .* TLSWEEP_CACHE"),
        ({}, None, r"40 decoded images cannot be kept in .* \(.*Disk quota exceeded\)"),
    ],
)
def test_a_set_that_the_disk_has_no_room_for_is_decoded_again_and_that_is_said(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, int], free: int | None, reason: str
) -> None:
    monkeypatch.setattr("tlsweep.files.shutil.disk_usage", lambda _: Usage(2**41, 0, free or 2**40))
    if free is None:
        quota = OSError(122, "Disk quota exceeded")
        monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(quota))
    task = load(root, tmp_path / "c", **fields)
    assert isinstance(task.images, Mapped if fields.get("disk_limit") == BYTES else Streamed)
    assert len(task.remarks) == (reason is not None)
    for line in task.remarks:
        assert line.startswith("all images are decoded again in every epoch: ")
        assert re.search(reason, line)


@pytest.mark.parametrize("there", ["nothing", "cut short", "other pixels"])
def test_another_node_makes_a_file_of_its_own(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    images = load(root, tmp_path / "driver").images
    wanted = everything(images)
    (entry,) = (tmp_path / "driver" / "images").glob("*/")
    if there == "cut short":
        os.truncate(entry / "images.npy", BYTES // 2)
    else:
        shutil.rmtree(tmp_path / "driver")
    if there == "other pixels":
        (root / "ant" / "000.jpg").write_bytes((root / "ant" / "001.jpg").read_bytes())
    monkeypatch.setenv("TLSWEEP_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(module, "_opened", {})
    lines: list[str] = []
    opened = images.open(lines.append)
    assert lines[0] == f"decoding 40 images into '{tmp_path / 'node' / 'images' / entry.name}', once on this node"
    if there == "other pixels":
        assert isinstance(opened, Streamed)
        assert lines[1].endswith(": the images here are not those that the sweep began with")
        assert not list((tmp_path / "node" / "images").glob("*/"))
        return
    assert isinstance(opened, PixelFile)
    assert np.array_equal(opened.load(np.arange(40)), wanted)
    monkeypatch.setattr(module, "_opened", {})
    assert isinstance(images.open(lines.append), PixelFile)
    assert len(lines) == 1


def _build(root: str, cache: str, at_work: Any) -> None:
    def progress(done: int, total: int) -> None:
        at_work.set()
        signal.pause()

    load_task(folder_data(Path(root), image_size=64, memory_limit="10KB"), 0, cache=Path(cache), progress=progress)


def test_who_waits_takes_over_from_a_builder_that_is_killed(root: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    at_work = context.Event()
    builder = context.Process(target=_build, args=(str(root), str(tmp_path / "c"), at_work))
    builder.start()
    assert at_work.wait(60)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(load, root, tmp_path / "c")
        builder.kill()
        images = waiting.result().images
    builder.join()
    assert everything(images).reshape(40, -1).any(axis=1).all()
    assert [path.name for path in (tmp_path / "c" / "images").glob("*/")] == [Path(images.entry).name]
    # Of another set nobody may ever ask again.
    left = tmp_path / "c" / "images" / "0123.abc"
    left.mkdir()
    load(root, tmp_path / "c", image_size=32)
    assert not left.exists()
