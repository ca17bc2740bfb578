"""Whatever stands in a spec, it loads or is one short SpecError, at once and in little memory."""

import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tlsweep.errors import SpecError
from tlsweep.spec import load_spec
from tlsweep.spec.idle import refuse_idle, remarks
from tlsweep.text import one_line

POPULATION = """\
name: bred
data: {source: folder, path: images, folds: 3, repeats: 2, augment: {crop: none, flip: false}}
model:
  name: resnet18
  weights: {choice: [none, DEFAULT, {name: a, data: {source: digits}, epochs: 3, train: {lr: 0.1}}]}
  args: {x: [1, {y: 2}]}
train: &t {epochs: 9, lr: {loguniform: [1e-4, 1e-1]}, batch_size: {powers_of_two: [8, 64]}, momentum: 0.9}
search: {strategy: pbt, population: 4, interval: 2, factors: [0.8, 1.25], mutate: [lr], metric: val_loss}
budget: {epochs: 30, wall_time: 1h30m, target: 0.1}
resources: {cpus: 1, gpus: 0.5, concurrent: 2}
faults: {report_timeout: 10m}
"""
SCREENED = """\
seed: 3
data: {source: digits, labels_per_class: 5, memory_limit: 512MB, image_size: 8}
model: {weights: {data: {source: digits, domain: source}}}
train: {lr: {uniform: [0.1, 0.2]}, optimizer: {choice: [sgd, adam]}, nesterov: true, lr_schedule: step}
search: {strategy: asha_then_pbt, trials: 8, population: 4, min_epochs: 1, reduction_factor: 2, screening_epochs: 3}
study: {freeze: true, few_labels: [5, 10]}
controls: [scratch, no-explore]
"""
GRID = """\
data: {source: torchvision, dataset: MNIST}
search:
  strategy: grid
  points: 4
train:
  lr: {uniform: [1, 2]}
"""
AGAIN = """\
data: {source: python, function: "a.b:c", args: {n: 3}}
train: {epochs: 4}
search: {strategy: recipe, schedule: [{to_epoch: 2, values: {lr: 0.1}}, {to_epoch: 4, values: {lr: 0.2}}]}
"""
SPECS = (POPULATION, SCREENED, GRID, AGAIN)
LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{at}: &a{at} [{','.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 10)
)
NASTY = (
    "2024-13-45", "2024-01-01", "!!int x", "!!float ''", "!!python/object:os.system x", "!!binary x", "!!set {a}",
    "[" * 2000, "{" * 2000, "- " * 500, "{a: " * 45 + "1" + "}" * 45, '"\\UFFFFFFFF"', '"\\0"', "\0", "\x07", "\x85",
    "\ufeff", "\ufffe", "\u2028", "\ud800", '"\\uD800"', "1" + "0" * 400, "1" * 5000, "1e400", "-1e400", "1e308",
    "5e-324",
    "1e9", "1000000000", "10000", "-1", "0", "-0.0", ".inf", "-.inf", ".nan", "yes", "true", "null", "~", "''",
    "a" * 100_000,
    "? [a]\n: b", "{1: 2}", "{null: 1}", "{[a]: 1}", "{a: 1, a: 2}", "<<", "{<<: 1}", "{<<: *t}", "*t", "*u",
    "&r [*r]",
    "&r {a: *r}", "|", ">", "%", "@", "`", "'", '"', "#", ":", "-", "---", "...", "%YAML 9.9", "\t", "a: b: c",
    "x\n---\ny",
    "{loguniform: [1e-320, 1e308]}", "{uniform: [-1e308, 1e308]}", "{choice: []}", "{choice: [[1], {a: 1}]}",
    "{choice: x}",
    "{choice: [1, a, true, null]}", "{powers_of_two: [1, 4611686018427387904]}", "{powers_of_two: [1.5, a]}", "{}",
    "[]",
    "{uniform: [1, 1.0000000000000002]}", "{choice: [" + ", ".join(map(str, range(1000))) + "]}", "1..2", "[1, 2]",
    "{'{x}': 1}", "'{'", "{a}", "\\", "9" * 390 + "h", "1.2.3h", "9" * 390 + "GB", "1h" * 50, "../../etc",
    "~nobody/x",
)  # fmt: skip
FIELDS = (
    "data", "data.source", "data.path", "data.folds", "data.repeats", "data.memory_limit", "model", "model.weights",
    "model.weights.choice", "model.args", "model.name", "train", "train.lr", "train.epochs", "train.batch_size",
    "train.optimizer", "train.nesterov", "search", "search.strategy", "search.trials", "search.points",
    "search.mutate",
    "search.population", "search.interval", "search.factors", "search.reduction_factor", "search.schedule", "budget",
    "budget.wall_time", "budget.target", "resources.gpus", "resources.cpus", "faults.report_timeout", "study",
    "study.few_labels", "controls", "name", "seed", "nonsense", "train.lr.uniform",
    "a" * 1000, ".".join("a" * 1000), "",
)  # fmt: skip


def mutated(seed: int) -> tuple[str, list[str]]:
    """A spec with a few accidents, and a few overrides."""
    rng = random.Random(seed)
    text = rng.choice(SPECS)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice([0, 0, 1, 2, 5, 20]))
        text = text[:at] + rng.choice([*NASTY, "", text[at:end] * 2, rng.choice(SPECS)]) + text[end:]
    for _ in range(rng.randint(0, 2)):
        lines = text.splitlines(keepends=True)
        rng.choice([rng.shuffle, lambda lines: lines.append(lines[0]), list.pop])(lines)
        text = "".join(lines) or "x"
    return text, [f"{rng.choice(FIELDS)}={rng.choice(NASTY)}" for _ in range(rng.choice([0, 0, 1, 2]))]


def mistake(file: Path, overrides: list[str]) -> str | None:
    try:
        spec = load_spec(file, overrides)
        remarks(spec)
        refuse_idle(spec)
    except SpecError as error:
        return str(error)
    return None


def loads_or_says_why(text: str, overrides: list[str], file: Path) -> None:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    before = time.process_time()
    message = mistake(file, overrides)
    if message is not None:
        assert 0 < len(message) <= 500
        assert one_line(message.replace("\n", "")) == message.replace("\n", "")
    assert time.process_time() - before < 1  # of this process, whatever else the machine does


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield tmp_path_factory.mktemp("fuzz") / "spec.yaml"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 300 * 1024  # KiB


@pytest.mark.parametrize("value", [*NASTY, LAUGHS], ids=lambda value: repr(value[:20]))
def test_any_value_loads_or_is_one_short_error(value: str, file: Path) -> None:
    for field in (
        "name",
        "seed",
        "data.path",
        "data.repeats",
        "train.lr",
        "train.epochs",
        "search.trials",
        "model.args",
    ):
        loads_or_says_why(value, [f"{field}={value}"], file)
        head, _, tail = POPULATION.partition("seed")
        loads_or_says_why(f"{head}{tail}seed: {value}\n", [], file)


@settings(max_examples=1000, derandomize=True, deadline=None)
@given(some.integers(0, 10**9))
def test_each_of_1000_specs_loads_or_is_one_short_error(file: Path, seed: int) -> None:
    loads_or_says_why(*mutated(seed), file)


@pytest.mark.slow
@settings(max_examples=500, derandomize=True, deadline=None)
@given(some.text(), some.lists(some.text(), max_size=2))
def test_any_text_is_one_short_error(file: Path, text: str, overrides: list[str]) -> None:
    loads_or_says_why(text, overrides, file)
