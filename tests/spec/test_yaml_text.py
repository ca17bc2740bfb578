"""YAML by the rules of 1.2: numbers are decimal, yes is a word, names are unique, what is written reads back."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from tlsweep.errors import SpecError
from tlsweep.spec import SweepSpec, dump_spec, load_spec
from tlsweep.spec.yaml_text import read_yaml, write_yaml

TEXT = "data: {source: digits}\nsearch: {strategy: random}\n"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("064", 64), ("010", 10), ("-007", -7), ("0o64", 52), ("0x1F", 31), ("+12", 12),
        ("1e3", 1000.0), ("1e-4", 1e-4), ("1.0e-05", 1e-5), (".5", 0.5), ("1.", 1.0), ("0.1", 0.1), ("010.5", 10.5),
        ("1_000", "1_000"), ("0b11", "0b11"), ("1:30", "1:30"), ("190:20:30", "190:20:30"),
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("OFF", "OFF"), ("y", "y"), ("N", "N"),
        ("true", True), ("False", False), ("TRUE", True), ("null", None), ("~", None), ("", None),
        ("2024-01-01", "2024-01-01"), ("2024-13-45", "2024-13-45"), ("2001-12-14t21:59:43.10-05:00",) * 2,
        ("=", "="), ("<<", "<<"), ("'064'", "064"), ('"true"', "true"), ("!!str 064", "064"),
        ("\ufeffa: 1", {"a": 1}), ("%YAML 1.1\n---\nyes", "yes"), ("{a: 1}\n...\n", {"a": 1}),
        ("%TAG !e! tag:e.org,2000:\n---\na", "a"),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}), ("---\na: 1\n# end", {"a": 1}),
    ],
)  # fmt: skip
def test_a_word_means_what_yaml_1_2_says(written: str, meant: Any) -> None:
    found = read_yaml(written, "it")
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "it: 'a' stands twice, in lines 1 and 3; keep one"),
        ("a: {b: 1, b: 1}", "it: 'b' stands twice, in line 1; keep one"),
        ("- {x: 1}\n- x: 1\n  y: 2\n  'x': 1", "it: 'x' stands twice, in lines 2 and 4; keep one"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a", "it: '<<' stands twice, in lines 3 and 4; keep one"),
        ("1: 2", "line 1 has 1 where a field's name belongs"),
        ("true: 2", "line 1 has True where a field's name belongs"),
        ("? [a]\n: 2", "line 1 has ['a'] where a field's name belongs"),
        ("a: !!int x", "line 1 has the tag '!!int', which no field of a spec needs; leave it out"),
        ("a: !!python/object:os.system x", "line 1 has the tag '!!python/object:os.system'"),
        ("a\n---\nb", "line 2 begins a second document; a spec is one: leave what follows '---' or '...' out"),
        ("a: 1\n...\nb: 2", "line 3 begins a second document; a spec is one: leave what follows '---' or '...' out"),
        ("a: 1\t# one", "line 1: a tab stands where only spaces may; replace it"),
        ("a:\n\tb: 1", "line 2: a tab stands where only spaces may; replace it"),
        (
            "a: *.jpg",
            "repeats '*.jpg', but nothing before it is complete and marked '&.jpg'; text needs quotes: '*.jpg'",
        ),
        ("%YAML 1.3\n---\na: 1", "its line %YAML names another version than 1.1 and 1.2; leave it out"),
        ("%YAML 1.0\n---\na: 1", "its line %YAML names another version than 1.1 and 1.2; leave it out"),
        ("a: @x", "line 1: '@' cannot begin a word; put text with it into quotes"),
        ("[`x`]", "line 1: '`' cannot begin a word; put text with it into quotes"),
        ("&a [*a]", "line 1 repeats '*a', but nothing before it is complete and marked '&a'"),
        ("a: *b", "line 1 repeats '*b'"),
        ("<<: 3", "line 1 merges ('<<') what is no mapping"),
        ('"\\UFFFFFFFF"', "an escape code in it stands for no character"),
        (
            "a: 1\nb: [1\nc: 2",
            "it is not valid YAML, line 3: a ',' or ']' is missing in the brackets that line 2 opens",
        ),
        ("a: {b: 1", "line 1: a ',' or '}' is missing in the brackets that line 1 opens"),
        ("a: {b: 1 c: 2}", "line 1: a ',' or '}' is missing in the brackets that line 1 opens"),
        ("a: 1\nb: 'c\nd: 2", "line 3: the quote that line 2 opens is not closed"),
        ("a:\n b: 3\n  c: 3", "line 3: ': ' stands where no field's name can be; indent the line as those beside it"),
        (
            "a: b: c",
            "line 1: ': ' stands where no field's name can be; indent the line as those beside it, or put text",
        ),
        ("a: - 1", "line 1: '- ' stands where no list can begin; begin it on a line of its own"),
        ("- a\nb: 1", "line 2: the line does not go on with what line 1 begins; indent it as the lines beside it"),
        ("a: 1\n- b", "line 2: the line does not go on with what line 1 begins; indent it as the lines beside it"),
        ("a: ]", "line 1: ']' stands where a value belongs"),
        ("a: 1\nb\n", "line 3: the name that line 2 begins has no ': ' behind it"),
        ('a: "\\q"', "line 1: a backslash before 'q' means nothing in double quotes; use single ones"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_where(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_yaml(text, "it")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_anchors_and_merges_mean_what_they_stand_for() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{x: 5}, *a]}\nd: [*a, &s [1], *s]"
    assert read_yaml(text, "it") == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 5, "y": 2}, "d": [{"x": 1, "y": 2}, [1], [1]]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("train.lr=yes", "train.lr = 'yes': must be a number"),
        ("train.lr=true", "train.lr = True: must be a number"),
        ("train.lr={choice: [true, 0.1]}", "must be a number"),
        ("train.lr={uniform: [false, 0.1]}", "two finite numbers"),
        ("train.batch_size=true", "train.batch_size = True: must be a whole number"),
        ("train.epochs=true", "train.epochs = 'true': must be a whole number"),
        ("seed=false", "seed = 'false': must be a whole number"),
        ("resources.cpus=true", "resources.cpus = 'true': must be a number"),
        ("resources.gpus=true", "resources.gpus = 'true': must be 'auto'"),
        ("budget.wall_time=true", "budget.wall_time = 'true': not a duration"),
        ("data.memory_limit=true", "data.memory_limit = 'true': not a size"),
        ("study.few_labels=[true, 5]", "study.few_labels.0 = 'true': must be a whole number"),
        ("search={strategy: pbt, factors: [true]}", "search.factors.0 = 'true': must be a number"),
    ],
)
def test_a_boolean_is_no_number(override: str, rule: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(read_yaml(f"{TEXT}train: {{lr: {{loguniform: [1e-4, 0.1]}}}}", "it"), [override])
    assert rule in str(caught.value)


def test_numbers_of_an_override_are_decimal() -> None:
    spec = load_spec("digits", ["train.batch_size=064", "seed=010", "train.lr=1e-3"])
    values = spec.train.resolve({"weight_decay": 0})
    assert (values.batch_size, spec.seed, values.lr) == (64, 10, 1e-3)


def test_words_for_true_and_false_still_set_what_is_true_or_false(tmp_path: Path) -> None:
    """Specs for PyYAML have them, and no field takes both a boolean and other words that could be meant."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "data: {source: digits, augment: {flip: yes}}\ntrain: {nesterov: off}\nsearch: {strategy: random}\n"
    )
    spec = load_spec(file)
    assert (spec.data.augment.flip, dict(spec.train)["nesterov"]) == (True, False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_is_read_in_the_encodings_that_yaml_names(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "mine.yaml"
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    file.write_bytes(f"{mark}{TEXT}model: {{weights: Gewichte/größe.pth}}\n".encode(encoding))
    assert load_spec(file).model.weights == "Gewichte/größe.pth"


NAMES = ["1e3", "0x10", "true", "null", "2024-01-01", "yes", "064", "1_000", "0o7", "NaN", "1.5", "off"]


@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_may_have_any_name_and_its_spec_reads_back(name: str) -> None:
    spec = load_spec("digits").model_copy(update={"name": name})
    assert load_spec(read_yaml(dump_spec(spec), "it")) == spec
    assert yaml.safe_load(dump_spec(spec))["name"] == name  # by the rules of 1.1 too


scalars = some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False)
words = some.text() | some.sampled_from(
    [*NAMES, "~", "", "=", "<<", "1:30", "- a", "a: b", "#", "\x85", "\udcea", "\u2028"]
)
trees = some.recursive(
    scalars | words, lambda inside: some.lists(inside, max_size=4) | some.dictionaries(words, inside, max_size=4)
)


@settings(derandomize=True, deadline=None)
@given(trees)
def test_what_is_written_reads_back(tree: Any) -> None:
    for width in (80, 10**6):
        found = read_yaml(write_yaml(tree, width=width), "it")
        assert found == tree
        assert repr(found) == repr(tree)  # 1, 1.0 and True are equal


usable = words.filter(lambda word: "\0" not in word and "\udcea" not in word)
usable_trees = some.recursive(
    some.booleans() | some.integers(-(2**64), 2**64) | some.floats(allow_nan=False, allow_infinity=False) | usable,
    lambda inside: some.lists(inside, max_size=4) | some.dictionaries(usable, inside, max_size=4),
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    some.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    usable,
    some.dictionaries(usable, usable_trees, max_size=3),
    some.floats(1e-12, 1e3),
)
def test_a_spec_with_any_names_and_values_reads_back(name: str, path: str, args: dict[str, Any], lr: float) -> None:
    tree = {
        "name": name,
        "data": {"source": "folder", "path": path},
        "model": {"args": args},
        "train": {"lr": lr, "weight_decay": {"choice": [0, lr]}},
        "search": {"strategy": "random"},
    }
    spec = load_spec(tree)
    assert load_spec(read_yaml(dump_spec(spec), "it")) == spec


def test_files_of_earlier_versions_mean_the_same(tmp_path: Path) -> None:
    """They were written by PyYAML."""
    spec: SweepSpec = load_spec(
        "digits", ["train.lr={loguniform: [1e-5, 1e-1]}", "name=mine", "train.lr_threshold=1e-7"]
    )
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    assert load_spec(file) == spec
