"""Every source of images that a spec may name can be found."""

from typing import get_args

import pytest

from tlsweep.data.sources import FINDERS, find_images
from tlsweep.spec import DigitsData
from tlsweep.spec.data import SOURCES, DataCommon


@pytest.mark.parametrize("model", SOURCES)
def test_each_source_has_a_finder(model: type[DataCommon]) -> None:
    (name,) = get_args(model.model_fields["source"].annotation)
    assert name in FINDERS


def test_no_finder_is_without_a_source() -> None:
    assert len(FINDERS) == len(SOURCES)


def test_the_images_of_a_section_are_found() -> None:
    found = find_images(DigitsData(source="digits"))
    assert len(found.items) == 897


@pytest.mark.parametrize("model", SOURCES)
def test_what_a_source_says_of_its_fields_is_true(model: type[DataCommon]) -> None:
    assert {*model.local_paths, *model.own_code} <= model.model_fields.keys()
