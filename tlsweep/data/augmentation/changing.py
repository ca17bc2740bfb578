"""What happens to the training images of a task, with the strengths of one trial, from stored pixels to the network.

All random numbers are drawn for a whole epoch, by position in its order, each kind by a generator of its own: so what
happens to a sample depends neither on the batch size nor on what else is switched on.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tlsweep.data.augmentation import augment, auto_augment, colour, mixing, warping
from tlsweep.data.task import Task
from tlsweep.spec import Hyperparameters, derive_seed

VALUES_AT_ONCE = 2**19
"""Small images of several batches are changed together: for 32 digits of 28 pixels the calls alone take as long as
their work. 2 MB as floats stay in a core's cache."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn for n samples. What is None is switched off."""

    places: Tensor
    """Shape (n, 5): where random areas are."""
    starts: Tensor
    """Shape (n, 2): the first row and column of squares that are cut out, before any padding."""
    mirrored: Tensor | None = None
    """Shape (n,): which images are; on the CPU, which must know how many."""
    upside_down: Tensor | None = None
    """Shape (n,): which images are."""
    angles: Tensor | None = None
    """Shape (n,): radians."""
    changes: tuple[auto_augment.Changes, ...] = ()
    """One after another."""
    factors: Tensor | None = None
    """Shape (n, 3): of brightness, contrast and saturation."""
    erased: Tensor | None = None
    """Shape (n, 4): boxes."""
    mixtures: mixing.Mixtures | None = None
    """What each image is mixed from."""

    def rows(self, start: int, end: int) -> "Drawn":
        """What was drawn for some of the samples."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        parts = {name: value[start:end] for name, value in values.items() if isinstance(value, Tensor)}
        mixtures = self.mixtures and self.mixtures.rows(start, end)
        changes = tuple(change.rows(start, end) for change in self.changes)
        return Drawn(**parts, changes=changes, mixtures=mixtures)


class Changer:
    """Crops, flips, warps, colours, normalises and erases; and mixes each image with the next."""

    def __init__(self, task: Task, strengths: Hyperparameters, device: torch.device, form: torch.memory_format) -> None:
        self._crop, self._flip = task.augment.crop, task.augment.flip
        self._strengths = strengths
        self._device, self._format = device, form
        self._side, self._size = int(task.images.shape[1]), task.image_size
        self._padding = augment.padding_of(self._side, self._size) if self._crop == "shift" else 0
        self._classes = task.num_classes
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (task.mean, task.std))
        # (pixel / 255 - mean) / std as one product and one sum.
        self._scale, self._offset = 1 / (255 * std), -mean / std
        # For channels last one factor for each value of a line: a vector. One for each channel leaves torch loops of
        # three (measured for 32 images of 224 px: 5.5 ms, against 1.2 ms).
        self._lines = tuple(
            values.expand(-1, -1, 1, self._size).contiguous(memory_format=torch.channels_last)
            for values in (self._scale, self._offset)
        )
        self._warps = self._crop == "resized" or strengths.rotation > 0
        self._recolours = strengths.auto_augment != "none" or strengths.color_jitter > 0
        # Channel by channel in memory, colours change and pixels are sampled twice as fast: turned around at the end.
        self._working = torch.contiguous_format if self._warps or self._recolours else form
        # Bilinear samples are not the same to the last bit in another batch, and cost more than the calls.
        self.images_at_once = 0 if self._warps else VALUES_AT_ONCE // (task.channels * self._size**2)
        """How many images are best changed at once."""
        self.mixes = strengths.mixup > 0 or strengths.cutmix > 0
        """Whether each image is mixed with the one behind it in the epoch's order; behind the last is the first."""

    def draw(self, count: int, seed: int, epoch: int) -> Drawn:
        """What happens to the samples of an epoch, and where images are mixed to the first one once more at the end."""
        strengths, device = self._strengths, self._device

        def uniform(columns: int, *name: str | int) -> Tensor:
            return self._with_first(augment.draw(count, derive_seed(seed, "augment", epoch, *name), columns))

        upside_down = angles = factors = erased = None
        if strengths.vertical_flip:
            upside_down = (uniform(1, "vertical_flip")[:, 0] < strengths.vertical_flip).to(device)
        if strengths.rotation:
            angles = torch.deg2rad(strengths.rotation * (2 * uniform(1, "rotation")[:, 0] - 1)).to(device)
        if strengths.color_jitter:
            factors = (1 + strengths.color_jitter * (2 * uniform(3, "color_jitter") - 1)).to(device)
        if strengths.random_erasing:
            boxes = mixing.erased_boxes(uniform(5, "random_erasing"), strengths.random_erasing, self._size)
            erased = boxes.to(device)
        places = uniform(5)
        return Drawn(
            places=places.to(device),
            starts=self._starts(places.to(device)),
            mirrored=augment.mirrored(places) if self._flip else None,
            upside_down=upside_down,
            angles=angles,
            changes=tuple(self._changes(uniform(3, "auto_augment", step)) for step in range(self._steps)),
            factors=factors,
            erased=erased,
            mixtures=self._mixtures(count, derive_seed(seed, "augment", epoch, "mixing")),
        )

    def prepare(self, pixels: Tensor, drawn: Drawn) -> Tensor:
        """Images for the network: uint8 (B, S, S, C) to float (B, C, size, size), normalised; mixed, one less."""
        # Sampling between pixels before or after normalising is the same: without colours to change, once is enough.
        early = self._warps and not self._recolours
        if self._warps:
            images = pixels.permute(0, 3, 1, 2)
            if early:
                images = self._warped(self._normalised(images, self._working), drawn)
            else:
                floats = images.to(torch.float32, memory_format=self._working)
                images = colour.to_pixels(self._warped(floats, drawn))
        else:
            images = self._cut(pixels, drawn).permute(0, 3, 1, 2)
        images = images.contiguous() if self._recolours else images
        for changes in drawn.changes:
            images = auto_augment.apply(images, changes)
        if drawn.factors is not None:
            images = colour.jitter(images, *drawn.factors.view(-1, 3, 1, 1, 1).unbind(1))
        images = images if early else self._normalised(images, self._working)
        if drawn.erased is not None:
            # 0 is the mean colour.
            images = images.mul_(mixing.outside(drawn.erased, images))
        if drawn.mixtures is not None:
            images = drawn.mixtures.mix(images)
        return images.contiguous(memory_format=self._format)

    def targets(self, labels: Tensor, drawn: Drawn) -> Tensor:
        """What the network is to say: labels (B,) as they are; mixed, (B + 1,) to probabilities (B, classes)."""
        if drawn.mixtures is None:
            return labels
        return drawn.mixtures.targets(labels, self._classes)

    def unchanged(self, pixels: Tensor) -> Tensor:
        """Images for the network as they are evaluated: uint8 (B, S, S, C) to float (B, C, size, size), normalised."""
        return self._normalised(self._centre(pixels).permute(0, 3, 1, 2), self._format)

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised images as pixels again: float (B, C, size, size) to uint8 (B, size, size, C)."""
        return colour.to_pixels((images - self._offset) / self._scale).permute(0, 2, 3, 1)

    def _centre(self, pixels: Tensor) -> Tensor:
        """The middle that the network sees."""
        margin = (self._side - self._size) // 2
        return pixels[:, margin : margin + self._size, margin : margin + self._size]

    def _normalised(self, images: Tensor, form: torch.memory_format) -> Tensor:
        """Normalise pixels (B, C, H, W) to float32; only the copy is new memory."""
        copied = images.to(torch.float32, memory_format=form)
        scale, offset = self._lines if form is torch.channels_last else (self._scale, self._offset)
        return copied.mul_(scale).add_(offset)

    def _with_first(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows[:1]]) if self.mixes else rows

    @property
    def _steps(self) -> int:
        """How many changes of `auto_augment` follow one another."""
        return {"none": 0, "trivial": 1, "rand": self._strengths.rand_augment_ops}[self._strengths.auto_augment]

    def _changes(self, uniform: Tensor) -> auto_augment.Changes:
        policy = self._strengths.auto_augment
        assert policy != "none"
        level = self._strengths.rand_augment_magnitude if policy == "rand" else None
        return auto_augment.draw_changes(policy, uniform, level, self._size, self._device)

    def _mixtures(self, count: int, seed: int) -> mixing.Mixtures | None:
        if not self.mixes:
            return None
        drawn = mixing.draw_mixtures(self._strengths.mixup, self._strengths.cutmix, count, self._size, seed)
        return drawn.to(self._device)

    def _starts(self, places: Tensor) -> Tensor:
        """Where squares begin, in images with padding."""
        if self._crop == "shift":
            return augment.shifts(places, self._side + 2 * self._padding, self._size)
        return torch.full((len(places), 2), (self._side - self._size) // 2, device=places.device)

    def _cut(self, pixels: Tensor, drawn: Drawn) -> Tensor:
        """The square of each image that the network sees: uint8 (B, S, S, C) to (B, size, size, C)."""
        if self._crop == "none" and drawn.mirrored is None and drawn.upside_down is None:
            return self._centre(pixels)
        turned = {"mirrored": drawn.mirrored, "upside_down": drawn.upside_down}
        return augment.cut(pixels, drawn.starts, self._size, padding=self._padding, **turned)

    def _warped(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Random areas of images, turned images, or both in one go: float (B, C, S, S) to (B, C, size, size)."""
        if self._crop == "resized":
            window = augment.resized_window(drawn.places)
        else:
            window = augment.square_window(drawn.starts - self._padding, self._side, self._size)
        if drawn.angles is None:
            window = warping.flipped(window, drawn.mirrored, drawn.upside_down)
            return warping.warp(images, window, self._size, padding="border")
        # Mirrored at its border, an image has no black corners, which would tell by how much it was turned.
        window = warping.flipped(warping.turned(window, drawn.angles), drawn.mirrored, drawn.upside_down)
        return warping.warp(images, window, self._size, padding="reflection")
