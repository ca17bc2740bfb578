"""Finds the strokes of handwritten digits in noise, pixel by pixel: a small U-Net with a loss of its own."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def load():
    images = torch.tensor(load_digits().images, dtype=torch.float32)[:600, None]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return images / 16 + 0.5 * noise, (images > 8).float()


def dice(logits, masks):
    """Twice what both have over the sum of what each has, of all images together (Milletari et al. 2016)."""
    found = logits.sigmoid()
    return (2 * (found * masks).sum() + 1) / (found.sum() + masks.sum() + 1)


class UNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.coarse = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)
        )
        self.head = nn.Conv2d(2 * width, 1, 1)

    def forward(self, images):
        fine = self.fine(images)
        return self.head(torch.cat([fine, self.coarse(fine)], 1))


def train(trial):
    images, masks = trial.share("digits", load)
    model = UNet(trial.values.width)
    optimizer = torch.optim.SGD(model.parameters(), trial.values.lr, momentum=0.9)
    if state := trial.restore():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    trial.apply_lr(optimizer)
    for _ in trial.epochs():
        for batch in torch.randperm(400).split(trial.values.batch_size):
            optimizer.zero_grad()
            (1 - dice(model(images[batch]), masks[batch])).backward()
            optimizer.step()
        with torch.no_grad():
            reached = dice(model(images[400:]), masks[400:])
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        trial.report(val_dice=reached, state=state)
