"""How large images are stored, and whether in grey or colour."""

from dataclasses import dataclass

from tlsweep.data.image_files import odd_metadata
from tlsweep.data.items import ArrayItems, Items
from tlsweep.errors import DataError
from tlsweep.spec import DataSpec
from tlsweep.spec.data import CROP_FRACTION

SMALL = 64
"""Images of one size up to this side are used as they are."""
DEFAULT_SIZE = 224
"""Side that the network sees of larger images: what nearly all of torchvision's weights were trained for."""
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class Geometry:
    """Sides in pixels, and the number of channels."""

    image_size: int
    """Side of the square that the network sees."""
    side: int
    """Side of the square that is stored."""
    channels: int
    """1 where all images are grey, else 3."""


@dataclass(frozen=True)
class _Survey:
    size: tuple[int, int] | None
    """Width and height of all images, if they share one that is small."""
    grey: bool


def choose_geometry(items: Items, data: DataSpec) -> Geometry:
    """The geometry for `items`, from the spec and from the headers of as many images as it takes."""
    with odd_metadata():
        survey = _survey(items)
    kept_whole = data.fit != "crop"
    fraction = CROP_FRACTION if data.crop_fraction == "auto" else data.crop_fraction
    own: int | None = None
    if survey.size:
        own = max(survey.size) if kept_whole else min(survey.size)
    image_size = data.image_size or own or DEFAULT_SIZE
    # Of a picture that is to be seen whole, validation must not cut a margin away.
    side = image_size if data.seen_whole else round(image_size / fraction)
    if own and image_size <= own <= side:
        side = own
    return Geometry(image_size, side, 1 if survey.grey else 3)


def _survey(items: Items) -> _Survey:
    """Looks at images until one is larger or of another size, and one is in colour: mostly at the first alone."""
    if isinstance(items, ArrayItems):
        height, width, channels = items.images.shape[1:]
        return _Survey((width, height) if max(width, height) <= SMALL else None, channels == 1)
    size: tuple[int, int] | None = None
    same, grey = True, True
    for index in range(len(items)):
        try:
            with items.open(index)[0] as image:
                this_size, this_mode = image.size, image.mode
        except DataError:
            raise
        except Exception:
            if not items.collects_errors:
                raise
            continue  # a bad image, which decoding will report
        size = size or this_size
        same = same and this_size == size and max(this_size) <= SMALL
        grey = grey and this_mode in _GREY
        if not same and not grey:
            break
    return _Survey(size if same else None, grey and size is not None)
