"""The `data:` section: where labelled images come from and how they become training, validation and test splits."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tlsweep.spec.base import Bytes, SpecModel


class Augment(SpecModel):
    """Random changes of training images, drawn for each sample, made in batches on the device."""

    crop: Literal["none", "shift", "resized"] = "shift"
    """`none`; `shift`: a crop of `image_size` at a random place (images without a margin are padded by an eighth);
    `resized`: a random area (25-100 %) and aspect (3/4-4/3), resized to `image_size`."""
    flip: bool = True
    """Mirror half of the images left to right. Wrong for digits and letters."""


class DataCommon(SpecModel):
    """What every source of images has."""

    image_size: int | None = Field(None, ge=4, le=2048)
    """Side of the square that the network sees, in pixels. Default: the images' own size where all have the same and
    it is at most 64, else 224. Larger images are stored with a margin of one seventh for random crops."""
    val_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of the training data set aside for validation where the source has no validation split (stratified)."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of the training data set aside for the final test where the source has no test split (stratified)."""
    labels_per_class: int | None = Field(None, ge=1)
    """Keep only so many training images of each class (few-shot); validation and test stay as they are."""
    folds: int | None = Field(None, ge=2)
    """Stratified cross-validation: each trial trains so many networks side by side, each validated on a fold that the
    others train on, and is judged by the mean. All images but the test's take part, a given validation split too, and
    `val_fraction` is not used; `labels_per_class` keeps so many training images of each fold."""
    repeats: int = Field(1, ge=1)
    """Each trial trains so many networks side by side, with other seeds (initialisation, order, augmentation, which few
    labels are kept), and is judged by the mean; with `folds`, so many for each fold, cut anew each time."""
    augment: Augment = Augment()
    """Random changes of training images."""
    memory_limit: Bytes = 4 * 1024**3
    """Decoded images up to this size are kept in memory, shared by all trials; larger sets are streamed from disk."""

    @property
    def runs(self) -> int:
        """Networks that each trial trains side by side."""
        return (self.folds or 1) * self.repeats


class DigitsData(DataCommon):
    """scikit-learn's 8x8 digits as a transfer problem; needs no download."""

    source: Literal["digits"]
    """`folder`, `digits`, `torchvision` or `python`."""
    domain: Literal["source", "target"] = "target"
    """`source`: 900 clean scans. `target`: the other 897, tilted and noisy. The samples are disjoint."""
    augment: Augment = Augment(crop="none", flip=False)
    """Random changes of training images."""


class FolderData(DataCommon):
    """Image files in folders: `train/CLASS/*.jpg`, `val/…`, `test/…`; or only `CLASS/*.jpg`, split by the seed."""

    source: Literal["folder"]
    """`folder`, `digits`, `torchvision` or `python`."""
    path: str
    """The folder, absolute or relative to where tlsweep is started. `~` is your home."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """A file that is no image or does not decode: `stop` before anything starts, or `skip` it (counted in
    environment.json)."""


class TorchvisionData(DataCommon):
    """Any classification data set of torchvision.datasets."""

    source: Literal["torchvision"]
    """`folder`, `digits`, `torchvision` or `python`."""
    dataset: str
    """The name of the class, such as `FashionMNIST`, `Flowers102`, `SEMEION`."""
    root: str = "~/.cache/tlsweep/datasets"
    """Where its files are, or are to be put."""
    download: bool = False
    """Let torchvision download or unpack what is missing."""
    augment: Augment = Augment(crop="shift", flip=False)
    """Random changes of training images."""


class PythonData(DataCommon):
    """Your own code: `package.module:function`.

    The function is called with `args` and returns `(images, labels)` — uint8 arrays of shape (N, H, W) or (N, H, W, C)
    and whole numbers of shape (N,) — or a mapping from `train`, `val`, `test` to such pairs, or torch data sets of
    (PIL image or array, label) in the same two forms. An attribute `classes` of the result or the function names them.
    """

    source: Literal["python"]
    """`folder`, `digits`, `torchvision` or `python`."""
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    """`package.module:function`, importable where tlsweep is started."""
    args: dict[str, Any] = {}
    """Keyword arguments of the function."""


DataSpec = Annotated[DigitsData | FolderData | TorchvisionData | PythonData, Field(discriminator="source")]
