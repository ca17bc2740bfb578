"""What an exported network does with a picture before it sees it: as code, and in the two steps that it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tlsweep.data.decode import to_square
from tlsweep.data.image_files import odd_metadata
from tlsweep.data.items import Pixels
from tlsweep.data.rendering import Rendering
from tlsweep.data.samples import as_image

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Transform:
    """Turns a picture into what the network sees, as validation did: a data set of torchvision takes it as it is.

    Upright by its EXIF, opaque, 8 bits deep, resized, cropped, normalised.
    """

    rule: Mapping[str, Any]
    """The contents of `preprocessing.json`."""

    def __call__(self, image: "Image | Any") -> Tensor:
        """The network's input for one picture: (channels, image_size, image_size), float32.

        Args:
            image: a PIL image, or a uint8 array of shape (H, W), (H, W, 1) or (H, W, 3). One that Pillow has opened and
                not loaded yet is used up: a JPEG is decoded no larger than it takes.

        Raises:
            DataError: it is neither.
            Exception: whatever Pillow raises where the image does not decode; OSError for most.
        """
        return self.normalise(self.square(image)[None])[0]

    def square(self, image: "Image | Any") -> Pixels:
        """The picture as it is stored for training: uint8 (stored_size, stored_size, channels); see `__call__`."""
        from PIL.Image import Image

        # Not `as_image` for these: its copy would lose how a 16-bit file holds its samples.
        opened = image if isinstance(image, Image) else as_image(image)
        with odd_metadata():
            return to_square(opened, self.rule["stored_size"], self.rule["channels"], self.rendering)

    def normalise(self, squares: Pixels) -> Tensor:
        """The network's input for pictures as they are stored: (N, channels, image_size, image_size)."""
        stored, size = self.rule["stored_size"], self.rule["image_size"]
        margin = (stored - size) // 2
        # Copied: Pillow's arrays are read-only, and torch warns of those.
        centre = squares[:, margin : margin + size, margin : margin + size].copy()
        mean, std = (torch.tensor(self.rule[name]).view(-1, 1, 1) for name in ("mean", "std"))
        return (torch.from_numpy(centre).permute(0, 3, 1, 2) / 255 - mean) / std

    @property
    def rendering(self) -> Rendering:
        """How pictures become squares; exports of earlier versions say less."""
        plain, rule = Rendering(), self.rule
        return Rendering(
            rule.get("fit", plain.fit),
            tuple(rule.get("background", plain.background)),
            rule.get("bits", plain.bits),
            rule.get("interpolation", plain.interpolation),
        )
