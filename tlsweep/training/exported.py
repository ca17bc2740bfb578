"""Reads an exported network that may not be trusted: no code runs, no memory is taken, before all of it fits."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tlsweep.data.depth import FULL_DEPTH
from tlsweep.errors import ModelError, ResultsError
from tlsweep.models.architectures import construct, is_own_code, keeps_memory
from tlsweep.models.lean import Limits
from tlsweep.models.loading import load_state
from tlsweep.models.statistics import PREPROCESSING
from tlsweep.spec import ModelSpec
from tlsweep.spec.data import Interpolation
from tlsweep.text import one_line
from tlsweep.training.preparing import Transform

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS, MODEL = "model.safetensors", "model.json"
CLASSES = "classes.json"
METRICS = "metrics.json"

MOST_BYTES = 2**26
"""The limit of a JSON file; metrics with the confusion matrix of 1,000 classes have a tenth of it."""
_MOST_CLASSES = 100_000
_MOST_PIXELS = 10_000


@dataclass(frozen=True)
class ExportInfo:
    """What has to be known to use an exported network; the contents of the JSON files."""

    model: dict[str, Any]
    """`name`, `args`, `num_classes`, `channels`, `requires` (packages and versions to build it without tlsweep)."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    preprocessing: dict[str, Any]
    """`channels`, `image_size`, `stored_size`, `depth`, `bits`, `background` (behind transparency), `fit`,
    `interpolation`, `resize`, `scale`, `mean`, `std`."""
    metrics: dict[str, Any]
    """What the exporter gave."""

    def transform(self) -> Transform:
        """What turns PIL images and arrays into the network's input, one by one."""
        return Transform(self.preprocessing)

    def prepare(self, image: "Image") -> Tensor:
        """Return what the network takes for a picture, as validation saw it: (1, channels, image_size, image_size).

        Args:
            image: opened by Pillow and not loaded yet; it is used up.

        Raises:
            Exception: whatever Pillow raises where the image does not decode; OSError for most.
        """
        return self.transform()(image)[None]


class _Stored(BaseModel):
    """A file of an export; what a later version writes besides is let be."""

    model_config = ConfigDict(strict=True)


class _Model(_Stored):
    name: str = Field(min_length=1, max_length=200)
    args: dict[str, Any]
    num_classes: int = Field(ge=1, le=_MOST_CLASSES)
    channels: Literal[1, 3]


class _Preprocessing(_Stored):
    channels: Literal[1, 3]
    image_size: int = Field(ge=1, le=_MOST_PIXELS)
    stored_size: int = Field(ge=1, le=_MOST_PIXELS)
    resize: str = Field(max_length=1000)
    scale: str = Field(max_length=1000)
    depth: str = Field("", max_length=1000)
    bits: int = Field(FULL_DEPTH, ge=8, le=FULL_DEPTH)
    background: list[Annotated[int, Field(ge=0, le=255)]] = Field([255] * 3, min_length=3, max_length=3)
    fit: Literal["crop", "pad", "squash"] = "crop"
    interpolation: Interpolation = "bilinear"
    mean: list[FiniteFloat] = Field(min_length=1, max_length=3)
    std: list[Annotated[FiniteFloat, Field(gt=0)]] = Field(min_length=1, max_length=3)


_Classes = Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=_MOST_CLASSES)]

_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The names that safetensors has for them."""

_SCHEMAS: dict[str, TypeAdapter[Any]] = {
    MODEL: TypeAdapter(_Model),
    CLASSES: TypeAdapter(_Classes),
    PREPROCESSING: TypeAdapter(_Preprocessing),
    METRICS: TypeAdapter(dict[str, Any]),
}


def load_exported(folder: Path | str, *, own_code: bool = False) -> tuple[nn.Module, ExportInfo]:
    """The network that `export_model` wrote, in evaluation mode on the CPU, and how to use it.

    Args:
        own_code: whether a network that is no part of torchvision or tlsweep may be built, for which the code that
            `model.json` names, `package.module:function`, is imported and run.

    Raises:
        ResultsError: a file is missing or damaged, its contents do not fit each other, or it names own code.
    """
    folder = Path(folder)
    try:
        info = info_of({name: _read(folder / name) for name in _SCHEMAS})
        name = info.model["name"]
        if is_own_code(name) and not own_code:
            raise ResultsError(
                f"{one_line(str(folder))} holds a network of own code, '{one_line(name)}', which would be imported and "
                "run; if you trust it, call load_exported(folder, own_code=True)"
            )
        module = _rebuilt(info, folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError, RuntimeError, ModelError) as error:
        raise ResultsError(
            f"{one_line(str(folder))} does not hold a model exported by tlsweep: {_reason(error)}; export it again"
        ) from error
    return module.eval(), info


def info_of(parts: Mapping[str, Any]) -> ExportInfo:
    """What the JSON files of an export say together.

    Args:
        parts: Their contents, by the names of the files.

    Raises:
        ValueError: they are none of an export, or do not fit each other.
        LookupError: one is missing.
    """
    for name in _SCHEMAS:
        _validate(name, parts[name])
    info = ExportInfo(parts[MODEL], tuple(parts[CLASSES]), parts[PREPROCESSING], parts[METRICS])
    _check_numbers(info)
    return info


def _read(path: Path) -> Any:
    """Read a JSON file of an export.

    Raises:
        OSError, ValueError: it is missing, too large, or holds something else.
    """
    if path.exists() and not path.is_file():  # reading a FIFO would wait for ever
        raise ValueError(f"{path.name} is no file")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    try:
        # Who made the file decides how deep it is nested, and Python gives up at a thousand levels (RecursionError).
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _validate(name: str, content: Any) -> None:
    """Check what a file of an export holds.

    Raises:
        ValueError: it is something else.
    """
    try:
        _SCHEMAS[name].validate_python(content)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{where} = {first['input']!r:.60}: {first['msg']}") from None


def _check_numbers(info: ExportInfo) -> None:
    """Check that the files fit each other.

    Raises:
        ValueError: two files do not fit each other.
    """
    classes, channels = info.model["num_classes"], info.model["channels"]
    if len(info.classes) != classes:
        raise ValueError(f"{CLASSES} names {len(info.classes):,} classes, {MODEL} has num_classes {classes:,}")
    stored, size = info.preprocessing["stored_size"], info.preprocessing["image_size"]
    if stored < size:
        raise ValueError(f"{PREPROCESSING} cuts {size} pixels out of {stored}")
    counts = [info.preprocessing["channels"], *(len(info.preprocessing[name]) for name in ("mean", "std"))]
    if any(count != channels for count in counts):
        raise ValueError(f"{PREPROCESSING} is not for images of {channels} channels, as {MODEL} is")


def _rebuilt(info: ExportInfo, path: Path) -> nn.Module:
    """The network with its weights; built without values, and compared with the file's header, before these are read.

    Raises:
        OSError, ValueError, SafetensorError, RuntimeError, ModelError: it cannot be built, or is another one.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        stored = {name: (tensor.get_dtype(), tuple(tensor.get_shape())) for name, tensor in slices.items()}
    module = _without_values(info, [shape for _, shape in stored.values()])
    own = {name: (_TYPES.get(tensor.dtype, "?"), tuple(tensor.shape)) for name, tensor in module.state_dict().items()}
    for name in sorted(own.keys() | stored.keys()):
        if own.get(name) != stored.get(name):
            there, here = (" ".join(map(str, some.get(name, ["nothing"]))) for some in (stored, own))
            raise ValueError(f"{WEIGHTS} has '{one_line(name)}' with {there}, the network with {here}")
    load_state(module, load_file(path), assign=not keeps_memory(info.model["name"]))
    return module


def _without_values(info: ExportInfo, stored: list[tuple[int, ...]]) -> nn.Module:
    """The network of `model.json`, no larger than what is stored; see `construct`.

    Raises:
        ValueError: what the network's code says to nonsense.
    """
    architecture = info.model
    # Some layers are replaced while a network is built, as its head may be.
    limits = Limits(tensors=2 * len(stored) + 100, values=2 * sum(map(math.prod, stored)) + 2**20)
    model = ModelSpec(name=architecture["name"], args=architecture["args"])
    size = info.preprocessing["image_size"]
    numbers = architecture["num_classes"], architecture["channels"], size
    try:
        return construct(model, *numbers, without_values=True, limits=limits)
    except (TypeError, ArithmeticError, LookupError, AttributeError, MemoryError, RecursionError) as error:
        if is_own_code(model.name):
            raise
        raise ValueError(f"{MODEL}.args do not fit {one_line(model.name)} ({type(error).__name__})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{one_line(Path(error.filename).name)}: {error.strerror}"
    return one_line((str(error).splitlines() or [type(error).__name__])[0])[:300]
