"""Opening the image files of others: regular files of formats that we name, up to a number of pixels, and no others.

A file that is none of these is said to be what it is.
"""

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "JPEG2000", "GIF", "TGA", "QOI", "SGI", "PCX")
"""Formats of pictures that Pillow decodes itself. Not EPS, for which it calls Ghostscript (CVE-2023-28879),
nor drawings, documents and containers."""
DEFAULT_MAX_PIXELS = 178_956_970
"""The number from which Pillow itself takes a file for a decompression bomb."""

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)
_RAW = (".dng", ".nef", ".cr2", ".arw", ".orf", ".pef", ".rw2", ".srw", ".nrw", ".3fr", ".erf", ".kdc", ".dcr")
_A_RAW = "a RAW file of a camera: develop it to JPEG or TIFF"
_SIGNATURES = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer: fetch it with git lfs pull"),
    (b"\xff\xd8\xff", "a damaged JPEG"),
    (b"\x89PNG", "a damaged PNG"),
    (b"II*\0", "a TIFF of a kind that is not read, or a damaged one"),
    (b"MM\0*", "a TIFF of a kind that is not read, or a damaged one"),
    (b"BM", "a damaged BMP"),
    (b"\xff\x0a", "a JPEG XL file: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file: convert it to JPEG or PNG"),
    (b"8BPS", "a Photoshop file (PSD): export it as PNG or JPEG"),
    (b"%PDF", "a PDF document: convert its pages to PNG"),
    (b"%!PS", "a PostScript file (EPS), which is a program: convert it to PNG"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file (EPS), which is a program: convert it to PNG"),
    (b"FUJIFILMCCD-RAW", _A_RAW),
    (b"IIU\0", _A_RAW),
    (b"IIRO", _A_RAW),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x93NUMPY", "a numpy array: give it through data.source: python"),
    (b"SIMPLE  =", "a FITS file: convert it to PNG or TIFF"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF): convert it to PNG"),
)
_BRANDS = (
    (b"avif", "an AVIF file, damaged or not readable here: convert it to JPEG or PNG"),
    (b"avis", "an AVIF file, damaged or not readable here: convert it to JPEG or PNG"),
    (b"crx ", _A_RAW),
    *((brand, "a HEIC photograph: convert it to JPEG") for brand in
      (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")),
)  # fmt: skip
"""The brands of ISO media files, which begin with their size, `ftyp` and one of these."""

_pillow_limit = threading.Lock()


def open_image(path: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> "ImageFile":
    """The image in a file; only its header is read by now.

    Raises:
        ValueError: the file is no image that we read; the message says what it is ("is a named pipe").
        OSError: the file cannot be read.
    """
    _check_file(path)
    image = _identified(path)
    try:
        if _is_raw(image, path):
            raise ValueError(f"is {_A_RAW}")
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise ValueError(
                f"has {image.width} × {image.height} = {pixels:,} pixels, above data.max_pixels: {max_pixels}; if that "
                f"is meant, set data.max_pixels: {pixels}"
            )
    except BaseException:
        image.close()
        raise
    return image


def open_unlimited(file: str | IO[bytes]) -> "ImageFile":
    """Open an image as `Image.open` does, of the formats we name and without its limit of pixels, which is global."""
    from PIL import Image

    # A limit of our own, because Pillow's warns on half of it, and is shared with whatever else runs in the process.
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def odd_metadata() -> Iterator[None]:
    """Pillow warns of each odd entry of a picture's EXIF, which is nobody's concern here: only pixels are used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def _check_file(path: str) -> None:
    """Opening a named pipe would wait for ever, and a device may do anything."""
    # Before it is opened: open(2) itself waits for a pipe's writer.
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        kind = next((name for of_kind, name in _KINDS if of_kind(state.st_mode)), "no regular file")
        raise ValueError(f"is {kind}, not a file of its own")
    if not state.st_size:
        raise ValueError("is empty")


def _identified(path: str) -> "ImageFile":
    try:
        return open_unlimited(path)
    except OSError as error:
        if error.errno is not None:  # of the file system, not of Pillow
            raise
        raise ValueError(f"is {_what_it_is(path)}") from error


def _is_raw(image: "ImageFile", path: str) -> bool:
    """Whether it is a camera's RAW file: most are TIFF files whose first picture is a thumbnail."""
    if image.format != "TIFF":
        return False
    dng_version = 50706
    return path.lower().endswith(_RAW) or dng_version in image.tag_v2  # type: ignore[attr-defined]


def _what_it_is(path: str) -> str:
    with open(path, "rb") as file:
        head = file.read(1024)
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            return _A_RAW if path.lower().endswith(_RAW) else what
    if head[4:8] == b"ftyp":
        return next((what for brand, what in _BRANDS if head[8:12] == brand), "a film or another ISO media file")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a damaged WebP"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing: convert it to PNG"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return "an HTML page, which a server sent in place of the image: download it again"
    return "not an image of a format that is read here"
