import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import folder_data, picture, write_folder

from tlsweep.data import load_task
from tlsweep.data.decode import decode_all
from tlsweep.data.pixels import cache as cache_module
from tlsweep.data.pixels.streamed import Streamed
from tlsweep.errors import DataError

LARGE = {"image_size": 64}
ON_DISK = LARGE | {"memory_limit": "10KB"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images", {"ant": 20, "bee": 20}, size=(90, 80), suffix=".jpg")


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that a whole set is decoded."""
    calls: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(args[0]))
        return decode_all(*args, **kwargs)

    monkeypatch.setattr(cache_module, "decode_all", counted)
    return calls


def test_decoded_once_then_memory_mapped(root: Path, tmp_path: Path, decodings: list[int]) -> None:
    seen: list[tuple[int, int]] = []
    first = load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c", progress=lambda *step: seen.append(step))
    again = load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c", progress=lambda *step: seen.append(step))
    assert decodings == [40]
    assert seen[-1] == (40, 40)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert np.array_equal(first.images, again.images)
    assert (first.mean, first.std, first.fingerprint) == (again.mean, again.std, again.fingerprint)
    assert not again.images.flags.writeable
    assert isinstance(again.images.base, np.memmap)


def test_images_travel_through_pickle_without_a_copy(root: Path) -> None:
    """Ray's way: buffers out of band. np.memmap itself would be copied."""
    task = load_task(folder_data(root, **LARGE), 0)
    buffers: list[pickle.PickleBuffer] = []
    pickle.dumps(task, protocol=5, buffer_callback=buffers.append)
    assert any(buffer.raw().nbytes == task.images.nbytes for buffer in buffers)


@pytest.mark.parametrize("change", ["content", "added", "removed", "recipe"])
def test_changes_are_noticed(root: Path, tmp_path: Path, decodings: list[int], change: str) -> None:
    data = folder_data(root, **LARGE)
    before = load_task(data, 0, cache=tmp_path / "c")
    if change == "content":
        old = os.stat(root / "ant" / "000.jpg")
        text = (root / "ant" / "001.jpg").read_bytes()[: old.st_size]
        (root / "ant" / "000.jpg").write_bytes(text + b"\0" * (old.st_size - len(text)))
        os.utime(root / "ant" / "000.jpg", ns=(old.st_atime_ns, old.st_mtime_ns))
        data = folder_data(root, on_bad_image="skip", **LARGE)
    elif change == "added":
        picture(7, (90, 80)).save(root / "bee" / "new.jpg")
    elif change == "removed":
        (root / "bee" / "000.jpg").unlink()
    else:
        data = folder_data(root, image_size=48)
    after = load_task(data, 0, cache=tmp_path / "c")
    assert len(decodings) == 2
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("harm", ["images cut", "images garbage", "survey cut", "survey missing", "empty folder"])
def test_damaged_entry_is_rebuilt(root: Path, tmp_path: Path, decodings: list[int], harm: str) -> None:
    whole = load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c")
    kept = np.array(whole.images)
    (entry,) = (path for path in (tmp_path / "c" / "images").iterdir() if path.is_dir())
    if harm == "images cut":
        os.truncate(entry / "images.npy", 5000)
    elif harm == "images garbage":
        (entry / "images.npy").write_bytes(b"garbage" * 99)
    elif harm == "survey cut":
        os.truncate(entry / "survey.npz", 300)
    else:
        (entry / "survey.npz").unlink()
    if harm == "empty folder":
        (entry / "images.npy").unlink()
    rebuilt = load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c")
    assert decodings == [40, 40]
    assert np.array_equal(rebuilt.images, kept)
    assert rebuilt.fingerprint == whole.fingerprint


def test_interrupted_decoding_leaves_nothing(root: Path, tmp_path: Path, decodings: list[int]) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c", progress=interrupt)
    assert [path for path in (tmp_path / "c" / "images").iterdir() if path.suffix != ".lock"] == []
    assert len(load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c").labels) == 40


def _load(root: str, cache: str, answers: Any) -> None:
    steps: list[int] = []
    task = load_task(folder_data(Path(root), **LARGE), 0, cache=Path(cache), progress=lambda *_: steps.append(1))
    answers.put((task.fingerprint, int(task.images.sum()), len(steps)))


def test_two_processes_at_once_decode_once(root: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=_load, args=(str(root), str(tmp_path / "c"), answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    (one, pixels, steps), (other, other_pixels, other_steps) = (answers.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
    assert (one, pixels) == (other, other_pixels)
    assert sorted([steps > 0, other_steps > 0]) == [False, True]


def test_two_threads_at_once_agree(root: Path, tmp_path: Path, decodings: list[int]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        tasks = list(pool.map(lambda _: load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c"), range(4)))
    assert decodings == [40]
    assert len({task.fingerprint for task in tasks}) == 1


def test_streamed_set_is_the_same_task(root: Path, tmp_path: Path, decodings: list[int]) -> None:
    stored = load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c")
    streamed = load_task(folder_data(root, **ON_DISK, disk_limit=0), 0, cache=tmp_path / "c")
    again = load_task(folder_data(root, **ON_DISK, disk_limit=0), 0, cache=tmp_path / "c")
    assert decodings == [40, 40], "the survey of a streamed set is kept as well"
    assert isinstance(again.images, Streamed)
    assert again.images.shape == stored.images.shape
    assert (streamed.mean, streamed.std, streamed.fingerprint) == (stored.mean, stored.std, stored.fingerprint)
    some = np.array([3, 39, 0, 3])
    assert np.array_equal(pickle.loads(pickle.dumps(again.images)).load(some), stored.images[some])


def test_bad_images_of_a_streamed_set_are_found_before_training(root: Path) -> None:
    (root / "bee" / "x.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 of 41 files"):
        load_task(folder_data(root, **ON_DISK, disk_limit=0), 0)


def test_environment_names_the_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLSWEEP_CACHE", str(tmp_path / "mine"))
    load_task(folder_data(root, **LARGE), 0)
    assert list((tmp_path / "mine" / "images").glob("*/images.npy"))


def test_cache_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"cannot keep decoded images in .*TLSWEEP_CACHE"):
        load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "file")


def test_full_disk_is_one_message(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match="No space left on device; make room there"):
        load_task(folder_data(root, **LARGE), 0, cache=tmp_path / "c")
    assert not list((tmp_path / "c" / "images").glob("*/"))
