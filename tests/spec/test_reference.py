"""The reference of a spec's fields."""

import pytest

from tlsweep.spec.base import SpecModel
from tlsweep.spec.reference import SpecField, as_written, spec_fields


def subclasses(model: type[SpecModel]) -> list[type[SpecModel]]:
    return [inner for child in model.__subclasses__() for inner in (child, *subclasses(child))]


MODELS = {model.__name__: model for model in subclasses(SpecModel)}


def field(path: str) -> SpecField:
    (found,) = [field for field in spec_fields() if field.path == path]
    return found


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_field_of_every_model_is_listed(model: type[SpecModel]) -> None:
    listed = {field.path.rpartition(".")[2] for field in spec_fields()}
    assert {field.alias or name for name, field in model.model_fields.items()} - listed == set()


def test_every_field_has_a_type_a_default_and_a_meaning() -> None:
    for known in spec_fields():
        assert known.type, known.path
        assert known.default, known.path
        assert known.meaning.endswith("."), known.path
        assert "\n" not in known.meaning, known.path


def test_no_field_is_listed_twice_but_where_its_variants_differ() -> None:
    listed = [(known.path, known.variants) for known in spec_fields()]
    assert len(set(listed)) == len(listed)


def test_types_rules_and_defaults_are_in_words() -> None:
    lr = field("train.lr")
    assert (lr.type, lr.rule, lr.default, lr.searched) == ("number", "above 0", "0.001", True)
    size = field("data.image_size")
    assert (size.type, size.rule, size.default) == ("whole number or none", "at least 4, at most 2048", "none")
    assert field("budget.wall_time").type == "number of seconds or '1h30m' or none"
    assert field("budget.wall_time").rule == "above 0"
    colour = field("data.background")
    assert (colour.type, colour.rule) == ("list of 3 × whole number", "each at least 0, at most 255")
    assert field("search.strategy").type == "random | grid | asha | pbt | pb2 | asha_then_pbt | recipe"
    assert field("data.dataset").default == "required"
    assert field("study").default == "as its fields say"


def test_a_field_of_some_variants_names_them() -> None:
    assert field("search.form").variants == ("asha",)
    assert field("search.metric").variants == ()
    assert field("search.screening_share").variants == ("asha_then_pbt",)
    assert field("model.weights.epochs").variants == ()


def test_a_section_that_stands_elsewhere_too_says_where_its_fields_are() -> None:
    assert field("model.weights.data").same_as == "data"
    assert field("model.weights.train").same_as == "train"


def test_values_are_written_as_in_yaml() -> None:
    assert as_written({"a": [1, None, True], "b": "c"}) == "{a: [1, none, true], b: c}"
