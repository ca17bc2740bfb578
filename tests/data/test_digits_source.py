import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tlsweep.data import load_task
from tlsweep.data.items import ArrayItems
from tlsweep.data.sources import digits
from tlsweep.spec import DigitsData


def test_the_file_is_read_as_scikit_learn_reads_it() -> None:
    pixels, labels = digits._read()
    known = load_digits()
    assert np.array_equal(pixels, known.images)
    assert np.array_equal(labels, known.target)


def _found(domain: str) -> ArrayItems:
    items = digits.find_digits(DigitsData(source="digits", domain=domain)).items  # type: ignore[arg-type]
    assert isinstance(items, ArrayItems)
    return items


def test_both_domains_together_are_all_digits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_TILT_DEGREES", (0, 0))
    monkeypatch.setattr(digits, "_NOISE", 0.0)
    source, target = _found("source"), _found("target")
    assert (len(source), len(target)) == (900, 897)
    images = np.concatenate([source.images, target.images]).reshape(1797, 64)
    rows = np.column_stack([images, np.concatenate([source.labels, target.labels])])
    known = load_digits()
    wanted = np.column_stack([np.round(known.data * 255 / 16), known.target]).astype(int)
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, wanted.tolist()))


def test_target_is_shifted_but_alike() -> None:
    shifted = _found("target").images[..., 0]
    clean_labels = _found("target").labels
    assert shifted.dtype == np.uint8
    assert shifted.std(axis=0).min() > 5, "noise reaches every pixel"
    means = np.stack([shifted[clean_labels == digit].mean(axis=0) for digit in range(10)]).reshape(10, -1)
    source = _found("source")
    centres = np.stack([source.images[source.labels == digit].mean(axis=0) for digit in range(10)]).reshape(10, -1)
    assert (np.corrcoef(means, centres)[:10, 10:].argmax(axis=1) == np.arange(10)).all(), "still the same digits"


def test_images_do_not_depend_on_the_seed_of_the_sweep() -> None:
    one, other = (load_task(DigitsData(source="digits"), seed) for seed in (1, 2))
    assert np.array_equal(one.images, other.images)
    assert not np.array_equal(one.splits["train"], other.splits["train"])
    assert one.fingerprint != other.fingerprint


def test_few_shot_task_has_whole_validation_and_test_splits() -> None:
    task = load_task(DigitsData(source="digits", labels_per_class=10), 0)
    assert {name: task.size(name) for name in task.splits} == {"train": 100, "val": 179, "test": 179}
    assert np.bincount(task.labels[task.splits["train"]]).tolist() == [10] * 10
    assert (task.image_size, task.channels, task.num_classes) == (8, 1, 10)


def test_driver_stays_light() -> None:
    code = (
        "import sys; from tlsweep.data import load_task; from tlsweep.spec import DigitsData;"
        "assert not {'PIL', 'sklearn'} & set(sys.modules); load_task(DigitsData(source='digits'), 0);"
        "assert not {'torch', 'torchvision', 'sklearn', 'scipy', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
