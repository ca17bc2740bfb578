"""What torch.save wrote, read without running code, and without taking more memory than the file has bytes."""

import argparse
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pickle import UnpicklingError
from typing import IO, Any

import torch

from tlsweep.text import one_line

SHARED, SPARED = 8, 2**20
"""Tensors may share memory, as tied layers do, and bfloat16 becomes float32 here: they may hold this many times the
bytes of their file, and this many bytes more."""

_BESIDE_WEIGHTS: list[Any] = [argparse.Namespace]
"""The arguments that timm's and torchvision's own training scripts keep there; making one runs no code."""

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class NotReadable(Exception):
    """What a file is instead of tensors, as the rest of a sentence that its name begins."""


def load_archive(file: IO[bytes], size: int) -> Any:
    """The content of a file of torch.save with `size` bytes, its tensors on the CPU.

    Raises:
        NotReadable: it is damaged or holds other objects than tensors, or more of them than its size allows.
    """
    try:
        _refuse_compression(file, size)
        # Warnings of pickle protocols and storages would stand before our one line.
        # Within the block alone: torch.serialization.add_safe_globals would hold for all that this process loads.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_BESIDE_WEIGHTS):
            # Tensors go back to the device that they were saved on unless told otherwise, and this machine may not have
            # it.
            content = torch.load(file, map_location="cpu", weights_only=True)
    except NotReadable:
        raise
    except Exception as error:  # a damaged file can fail anywhere in zip, pickle or storage code
        raise NotReadable(fault(error)) from error
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
    if claimed > SHARED * size + SPARED:
        raise NotReadable(
            f"has {size:,} bytes, but its tensors claim {claimed:,}: they are expanded; clone them before saving"
        )
    return content


def _refuse_compression(file: IO[bytes], size: int) -> None:
    """Refuse compressed records, which can unfold to a thousand times the file; torch.save stores them as they are."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
        names = {record.filename.rpartition("/")[2] for record in records}
        if "constants.pkl" in names:
            raise NotReadable("is a TorchScript archive, a program")
        unfolded = sum(record.file_size for record in records)
        if unfolded > size or any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise NotReadable(f"is a compressed archive of {unfolded:,} bytes, which torch.save does not write")
        if "data.pkl" not in names:
            raise NotReadable("is a zip file, but none of torch.save's")
    file.seek(0)


def fault(error: Exception) -> str:
    """Why torch could not load a file; not in its words where these advise to switch weights_only off."""
    text = str(error)
    if named := _GLOBAL.search(text):
        what = "a whole network" if named[1].startswith(("torch.nn.", "torchvision.models.")) else "Python objects"
        return f"holds {what} ({named[1]}), which is code and not run"
    if isinstance(error, UnpicklingError | LookupError | AttributeError | TypeError) or "weights_only" in text:
        return "cannot be read (it is damaged, or was not written by torch.save)"
    return f"cannot be read ({one_line(first_line(error))})"


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """All that are in dicts, lists and tuples; each container once, as they may hold each other."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, Mapping) else value


def first_line(error: BaseException) -> str:
    """What an exception says first; those of torch go on for pages."""
    return (str(error).splitlines() or [type(error).__name__])[0]
