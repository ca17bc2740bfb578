"""The `data:` section: where labelled images come from and how they become training, validation and test splits."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, Union

from pydantic import Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tlsweep.spec.augmentation import crop_and_flip, presets_in_words
from tlsweep.spec.base import Bytes, BytesOrZero, SpecModel, Unit

ColourValue = Annotated[int, Field(ge=0, le=255)]


class Augment(SpecModel):
    """Random changes of training images, drawn for each sample, made in batches on the device."""

    crop: Literal["none", "shift", "resized"] = "shift"
    """`none`; `shift`: a crop of `image_size` at a random place (images without a margin are padded by an eighth);
    `resized`: a random area (25-100 %) and aspect (3/4-4/3), resized to `image_size`."""
    flip: bool = False
    """Mirror half of the images left to right. Wrong for digits and letters: off unless written, but for `folder`
    and `table`, where pictures are photographs more often than not."""


_CHANGES: Final = (
    "Random changes of training images: fields, or the name of a preset, which stands for them and for hyperparameters "
    f"of `train` that are not written there. {presets_in_words()}."
)
NamedAugment = Annotated[Augment, Unit("section or none | light | medium | strong"), Field(description=_CHANGES)]


Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


class Normalisation(SpecModel):
    """What is subtracted from the pixels of each channel, scaled to 0..1, and what they are then divided by."""

    mean: tuple[Share, ...] = Field(min_length=1, max_length=3)
    """One number for grey images, three (red, green, blue) for colour, of pixels scaled to 0..1."""
    std: tuple[Spread, ...] = Field(min_length=1, max_length=3)
    """The standard deviations, one for each number in `mean`."""

    @model_validator(mode="after")
    def _as_many_of_both(self) -> Self:
        if len(self.mean) != len(self.std) or len(self.mean) == 2:
            raise ValueError(
                f"mean has {len(self.mean)} numbers and std {len(self.std)}; give both one for grey images, or both "
                "three (red, green, blue)"
            )
        return self


def _normalise_tag(value: Any) -> str:
    """Tell words from mappings, so that a mistake in one is not reported as one in both."""
    return NORMALISE_TAGS[isinstance(value, Mapping | Normalisation)]


NORMALISE_TAGS: Final = ("normalize as word", "normalize as mapping")
Normalise = Annotated[
    Annotated[Literal["auto", "weights", "train"], Tag(NORMALISE_TAGS[0])]
    | Annotated[Normalisation, Tag(NORMALISE_TAGS[1])],
    Discriminator(_normalise_tag),
]
"""What pixels are normalised by."""

Interpolation = Literal["bilinear", "bicubic"]
CROP_FRACTION: Final = 0.875
"""224 of 256: with this torchvision evaluates most of its weights."""
SMALLEST_FRACTION: Final = 0.25
CROP_FRACTION_TAGS: Final = ("crop fraction as word", "crop fraction as number")
CropFraction = Annotated[
    Annotated[Literal["auto"], Tag(CROP_FRACTION_TAGS[0])]
    | Annotated[Annotated[float, Field(ge=SMALLEST_FRACTION, le=1)], Tag(CROP_FRACTION_TAGS[1])],
    Discriminator(lambda value: CROP_FRACTION_TAGS[not isinstance(value, str)]),
]
"""How much of a picture is seen, along each side."""

MAX_RUNS = 1000


class DataCommon(SpecModel):
    """What every source of images has."""

    local_paths: ClassVar[tuple[str, ...]] = ()
    """Fields that name files of the machine where a sweep is started."""
    own_code: ClassVar[tuple[str, ...]] = ()
    """Fields that name code of the user, as `package.module:function`."""
    if TYPE_CHECKING:  # each source has its own, after the fields that all have
        source: str

    image_size: int | None = Field(None, ge=4, le=2048)
    """Side of the square that the network sees, in pixels. Default: the images' own size where all have the same and
    it is at most 64, else 224. Larger images are stored with the margin that `crop_fraction` leaves for random
    crops."""
    val_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of the training data set aside for validation where the source has no validation split (stratified)."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of the training data set aside for the final test where the source has no test split (stratified)."""
    labels_per_class: int | None = Field(None, ge=1)
    """How many training images of each class are kept (few-shot); validation and test stay as they are."""
    folds: int | None = Field(None, ge=2, le=1000)
    """Stratified cross-validation: each trial trains this many networks side by side, each validated on a fold that the
    others train on, and is judged by the mean. All images but the test's take part, a given validation split too, and
    `val_fraction` is not used; `labels_per_class` counts training images of each fold."""
    repeats: int = Field(1, ge=1, le=1000)
    """How many networks each trial trains side by side, with other seeds (initialisation, order, augmentation, which
    few labels are kept), judged by their mean; with `folds`, how many for each fold, cut in another way each time."""
    augment: NamedAugment = Augment()
    normalize: Normalise = "auto"
    """What pixels are normalised by. `weights`: what the network was trained with, as torchvision says of its weights
    (for a file, as the `preprocessing.json` of an exported model beside it says, else as for the torchvision network
    that it fits), or the source task's statistics; grey images have the mean of the three colours. `train`: mean and
    standard deviation of the training split. `auto`: the weights' where they say so, else `train`. Or `{mean: [...],
    std: [...]}`, of pixels scaled to 0..1. Random weights have `train` in any case."""
    interpolation: Interpolation | Literal["auto"] = "auto"
    """How pictures are resized, with antialiasing: `bilinear` or `bicubic`. `auto`: as for the weights, as torchvision
    or timm say (or the `preprocessing.json` beside a file), else `bilinear`. Images are decoded once: of a choice of
    weights the first that say so decide for all."""
    crop_fraction: CropFraction = "auto"
    """Side of the middle that the network sees, as a part of the picture's short side, from 0.25 to 1. `auto`: as for
    the weights, as above, else 0.875. With `augment: {crop: none}`, or a `fit` that keeps the whole picture, all of it
    is seen."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How a picture that is no square becomes one. `crop`: its middle; `pad`: the whole of it, `background` beside it;
    `squash`: the whole of it, its sides made equal."""
    background: tuple[ColourValue, ColourValue, ColourValue] = (255, 255, 255)
    """Red, green and blue (0 to 255) behind what is transparent, and beside padded pictures."""
    on_duplicate: Literal["warn", "drop", "stop"] = "warn"
    """The same picture, pixel for pixel, in two splits or under two classes: `warn` and count it; `drop` training
    images that are in validation or test too, and all that are under two classes; or `stop`. Pictures that are nearly
    the same are counted only."""
    memory_limit: Bytes = 4 * 1024**3
    """Decoded images up to this size are kept in memory, shared by all trials; larger sets are read from disk."""
    disk_limit: BytesOrZero = 100 * 1024**3
    """Larger sets up to this size are decoded once on each node, into a file in its cache (the environment variable
    `TLSWEEP_CACHE` names the folder) that all trials map, where that takes at most half of what is free on the disk.
    Others are decoded again by every trial in every epoch, with as many threads as it has CPUs, and that is said. 0:
    all that are above `memory_limit`."""

    @field_validator("augment", mode="before")
    @classmethod
    def _rest_as_this_source_has_it(cls, value: Any) -> Any:
        """Let the flip of `augment: {crop: resized}` be the source's own default, not that of all sources."""
        if isinstance(value, str):
            return crop_and_flip(value)
        written = value.model_dump(exclude_unset=True) if isinstance(value, Augment) else value
        if not isinstance(written, Mapping):
            return value
        return {**cls.model_fields["augment"].default.model_dump(), **written}

    @model_validator(mode="after")
    def _networks_side_by_side(self) -> Self:
        if self.runs > MAX_RUNS:
            raise ValueError(
                f"folds x repeats = {self.runs:,}: a trial trains this many networks side by side, at most {MAX_RUNS:,}"
            )
        return self

    @property
    def runs(self) -> int:
        """Networks that each trial trains side by side."""
        return (self.folds or 1) * self.repeats

    @property
    def seen_whole(self) -> bool:
        """Whether the network sees all that is kept of a picture, whatever `crop_fraction` says."""
        return self.fit != "crop" or self.augment.crop == "none"

    @property
    def short_name(self) -> str:
        """What weights that were trained on these images are called."""
        return self.source

    @property
    def in_words(self) -> str:
        """What the images are called in a heading."""
        return self.short_name


class DigitsData(DataCommon):
    """scikit-learn's 8x8 digits as a transfer problem; needs no download."""

    source: Literal["digits"]
    """Where the images come from."""
    domain: Literal["source", "target"] = "target"
    """`source`: 900 clean scans. `target`: the other 897, tilted and noisy. The samples are disjoint."""
    augment: NamedAugment = Augment(crop="none", flip=False)

    @property
    def short_name(self) -> str:
        return f"digits-{self.domain}"

    @property
    def in_words(self) -> str:
        return f"digits ({self.domain})"


class FileData(DataCommon):
    """What sources have whose images are files."""

    on_bad_image: Literal["stop", "skip"] = "stop"
    """A file that is no image or does not decode: `stop` before anything starts, or `skip` it (counted in
    environment.json)."""
    max_pixels: int = Field(178_956_970, ge=1)
    """Larger pictures are bad images: a small file can claim billions of pixels. The default is Pillow's."""
    augment: NamedAugment = Augment(flip=True)
    if TYPE_CHECKING:  # each has its own
        path: str

    @property
    def short_name(self) -> str:
        return Path(self.path).name


class FolderData(FileData):
    """Image files in folders: `train/CLASS/*.jpg`, `val/…`, `test/…`; or only `CLASS/*.jpg`, split by the seed."""

    local_paths = ("path",)

    source: Literal["folder"]
    """Where the images come from."""
    path: str
    """The folder, absolute or relative to where tlsweep is started. `~` is your home."""
    splits: dict[Literal["train", "val", "test"], str] | None = None
    """The folders of the splits, for example `{train: Lernen, test: Prüfen}`; `{}`: each folder is a class. Default:
    their names tell (Training, valid, test_set, …)."""

    @property
    def in_words(self) -> str:
        return f"images in {self.path}"


class TableColumns(SpecModel):
    """What the columns of a table of images are called."""

    path: str = "path"
    """Image files, absolute or relative to `root`; each once."""
    label: str = "label"
    """Classes: text, or whole numbers, which need not begin at 0."""
    split: str | None = None
    """`train`, `val` or `test` (or Training, valid, test_set, …). Default: `split`, where the table has that; `''`:
    none. Of val and test, what is missing is split off from train."""
    group: str | None = None
    """What must not be divided, such as the patient or the video that an image is of: all images of a group are in one
    split, and in one fold. Default: `group`, where the table has that; `''`: none."""


class TableData(FileData):
    """Image files listed in a table, a CSV or Parquet file: one row for each, with its label."""

    local_paths = ("path", "root")

    source: Literal["table"]
    """Where the images come from."""
    path: str
    """The table (.csv, .tsv or .parquet), absolute or relative to where tlsweep is started. `~` is your home."""
    root: str | None = None
    """The folder that the table's paths are relative to. Default: the one in which the table is."""
    columns: TableColumns = TableColumns()
    """What its columns are called."""

    @property
    def in_words(self) -> str:
        return f"images listed in {self.path}"


class TorchvisionData(DataCommon):
    """Any classification data set of torchvision.datasets."""

    source: Literal["torchvision"]
    """Where the images come from."""
    dataset: str
    """The name of the class, such as `FashionMNIST`, `Flowers102`, `SEMEION`."""
    root: str = "~/.cache/tlsweep/datasets"
    """The folder where its files are, or are to be put."""
    download: bool = False
    """Let torchvision download or unpack what is missing."""

    @property
    def short_name(self) -> str:
        return self.dataset


class PythonData(DataCommon):
    """Your own code: `package.module:function`.

    The function is called with `args` and returns `(images, labels)` — uint8 arrays of shape (N, H, W) or (N, H, W, C)
    and whole numbers of shape (N,) — or a mapping from `train`, `val`, `test` to such pairs, or torch data sets of
    (PIL image or array, label) in the same two forms. An attribute `classes` of the result or the function names them.
    """

    own_code = ("function",)

    source: Literal["python"]
    """Where the images come from."""
    function: str
    """`package.module:function`, importable where tlsweep is started."""
    args: dict[str, Any] = {}
    """Keyword arguments of the function."""

    @property
    def short_name(self) -> str:
        return self.function

    @field_validator("function")
    @classmethod
    def _is_module_and_function(cls, value: str) -> str:
        if _FUNCTION.fullmatch(value) and ".py:" not in value:
            return value
        raise PydanticCustomError(
            "function", "write module:function, for example my_data:load{hint}", {"hint": _function_meant(value)}
        )


_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_SETS = (
    "CIFAR10",
    "CIFAR100",
    "EMNIST",
    "FashionMNIST",
    "Food101",
    "KMNIST",
    "MNIST",
    "SEMEION",
    "STL10",
    "SVHN",
    "USPS",
)
"""The sets of torchvision, to spell a name right without importing it, which takes seconds."""


def _function_meant(value: str) -> str:
    """What somebody meant who wrote a data set's name, a file, or a dot for the colon."""
    path, _, name = value.strip().removesuffix("()").replace(".py:", ":").replace("/", ".").rpartition(":")
    if not path and "." in name and not name.endswith(".py"):
        path, _, name = name.rpartition(".")
    if _FUNCTION.fullmatch(f"{path}:{name}"):
        return f"; did you mean '{path}:{name}'?"
    if not value.isidentifier():
        return ""
    known = next((name for name in _SETS if name.lower() == value.lower()), value)
    return f"; a data set of torchvision is data.source=torchvision data.dataset={known}"


SOURCES: Final = (
    DigitsData,
    FolderData,
    TableData,
    TorchvisionData,
    PythonData,
)
"""What `data` may be, told apart by `source`."""

if TYPE_CHECKING:
    DataSpec = DataCommon
else:
    # By its tag, so that a mistake is told of the source that was meant, and not once for each.
    DataSpec = Annotated[Union[SOURCES], Field(discriminator="source")]  # noqa: UP007  (a tuple of them)
