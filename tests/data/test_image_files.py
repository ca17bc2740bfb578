import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import folder_data, picture, png_chunk, png_file, tiff_file, write_folder
from PIL import Image

from tlsweep.data import load_task
from tlsweep.data.image_files import open_image
from tlsweep.errors import DataError


def _encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture(1, (200, 200)).save(file, kind, **options)
    return file.getvalue()


def _bomb(kind: str) -> bytes:
    """A file of some bytes that claims to be 100,000 pixels wide and high."""
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(99)))
    if kind == "BMP":
        return _encoded("BMP")[:18] + struct.pack("<ii", 100_000, 100_000) + _encoded("BMP")[26:]
    return tiff_file(np.ones((8, 8, 1), int), 16, extra={256: 100_000, 257: 100_000})


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n0 0 9 9 rectfill showpage\n%%EOF\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca\n"
NO_IMAGES = {
    "an LFS pointer.jpg": (LFS, "is a Git LFS pointer: fetch it with git lfs pull"),
    "a page.jpg": (b"\n<!DOCTYPE html>\n<html><title>404</title></html>", "is an HTML page, .* download it again"),
    "a page without doctype.png": (b"<HTML><body>not found</body></HTML>", "is an HTML page"),
    "nothing.jpg": (b"", "is empty"),
    "HEIC.jpg": (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(99), "is a HEIC photograph: convert it to JPEG"),
    "HEIF.heic": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99), "is a HEIC photograph: convert it to JPEG"),
    "film.jpg": (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1" + bytes(99), "is a film or another ISO media file"),
    "AVIF.avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(99), "AVIF"),
    "JPEG XL.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "is a JPEG XL file"),
    "bare JPEG XL.jpg": (b"\xff\x0a" + bytes(99), "is a JPEG XL file"),
    "Photoshop.png": (b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(99), "is a Photoshop file"),
    "document.jpg": (b"%PDF-1.7\n%" + bytes(99), "is a PDF document"),
    "drawing.png": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
    "program.png": (EPS, "is a PostScript file"),
    "program of DOS.png": (b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(EPS)) + bytes(18) + EPS, "is a PostScript"),
    "metafile.png": (b"\xd7\xcd\xc6\x9a" + bytes(99), "is a Windows metafile"),
    "archive.png": (b"PK\x03\x04" + bytes(99), "is a ZIP archive"),
    "negative.dng": (tiff_file(np.ones((8, 8, 1), int), 16, extra={50706: 1}), "is a RAW file of a camera"),
    "negative called.tif": (tiff_file(np.ones((8, 8, 1), int), 16, extra={50706: 1}), "is a RAW file of a camera"),
    "negative.NEF": (tiff_file(np.ones((8, 8, 1), int), 16), "is a RAW file of a camera"),
    "text.jpg": (b"a line of text\n" * 9, "is not an image of a format that is read here"),
    "half.jpg": (_encoded("JPEG")[:-1500], "truncated"),
    "half.png": (_encoded("PNG")[:-5000], "truncated|broken"),
    "half.webp": (_encoded("WEBP")[:-900], "damaged|failed|truncated|decod"),
    "half planes.tif": (tiff_file(np.ones((9, 8, 3), int), 16, planes=True, extra={256: 9}), "truncated"),
    "head.png": (_encoded("PNG")[:12], "is a damaged PNG"),
    "head.jpg": (_encoded("JPEG")[:9], "damaged JPEG|Truncated"),
    "bomb.png": (_bomb("PNG"), "has 100000 × 100000 = 10,000,000,000 pixels, above data.max_pixels"),
    "bomb.bmp": (_bomb("BMP"), "has 100000 × 100000 = 10,000,000,000 pixels, above data.max_pixels"),
    "bomb.tif": (_bomb("TIFF"), "has 100000 × 100000 = 10,000,000,000 pixels, above data.max_pixels"),
}


def _listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # because a socket's path may have 107 bytes at most
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


def _linked_pipe(path: Path) -> None:
    os.mkfifo(path.parents[2] / "pipe")
    path.symlink_to(path.parents[2] / "pipe")


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe.jpg": (os.mkfifo, "is a named pipe"),
    "link to a pipe.jpg": (_linked_pipe, "is a named pipe"),
    "socket.jpg": (_listening, "is a socket"),
    "link to a device.jpg": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "link to nowhere.jpg": (lambda path: path.symlink_to("nowhere"), "No such file"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images", {"ant": 5, "bee": 5})


@pytest.mark.parametrize("name", [*NO_IMAGES, *NO_FILES])
def test_a_file_that_is_no_image_is_called_what_it_is(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for it, and without any other program: a `gs` that the path holds is not called."""
    program = root.parent / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{root.parent}/called'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(root.parent), prepend=os.pathsep)
    path = root / "bee" / name
    if name in NO_FILES:
        make, reason = NO_FILES[name]
        make(path)
    else:
        content, reason = NO_IMAGES[name]
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"1 of 11 files are no images[^\n]*\n  bee/{name}: [^\n]*({reason})[^\n]*$"):
        load_task(folder_data(root), 0)
    assert len(load_task(folder_data(root, on_bad_image="skip"), 0).skipped) == 1
    assert not (root.parent / "called").exists()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "SGI", "PCX"])
def test_formats_of_pictures_are_read_whatever_the_file_is_called(root: Path, kind: str) -> None:
    (root / "bee" / "new.picture").write_bytes(_encoded(kind))
    assert len(load_task(folder_data(root, image_size=16), 0).labels) == 11


def _large(kind: str, path: Path) -> None:
    image = Image.new("L" if kind == "PNG" else "RGB", (14_000, 14_000))
    image.save(path, kind, **({"compress_level": 1} if kind == "PNG" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_of_196_megapixels_is_read_where_the_spec_allows_it(root: Path, kind: str) -> None:
    _large(kind, root / "bee" / "large")
    with pytest.raises(DataError, match="bee/large: has 14000 × 14000 = 196,000,000 .*set data.max_pixels: 196000000"):
        load_task(folder_data(root, image_size=16), 0)
    task = load_task(folder_data(root, image_size=16, max_pixels=196_000_000), 0)
    assert (task.images[10] == 0).all()
    assert Image.MAX_IMAGE_PIXELS == 89_478_485, "the limit of others in this process stays"


@pytest.mark.parametrize("limit", [8, 9 * 8])
def test_fewer_pixels_can_be_allowed_too(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_file(np.zeros((8, 9, 1), int)))
    if limit < 72:
        with pytest.raises(ValueError, match="has 9 × 8 = 72 pixels"):
            open_image(str(path), limit)
    else:
        with open_image(str(path), limit) as image:
            assert image.size == (9, 8)
