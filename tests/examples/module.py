"""Tells benign tumours from malignant ones by thirty measurements: a LightningModule."""

import lightning
import torch
from table import load
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from tlsweep.functions.lightning import arguments, fit


class Network(lightning.LightningModule):
    def __init__(self, values):
        super().__init__()
        self.values = values
        self.layers = nn.Sequential(
            nn.Linear(30, values.hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(values.hidden, 2)
        )

    def training_step(self, batch, index):
        rows, labels = batch
        loss = F.cross_entropy(self.layers(rows), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, index):
        rows, labels = batch
        logits = self.layers(rows)
        self.log("val_loss", F.cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.values.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def finetune(trial):
    rows, labels = trial.share("tumours", load)
    training, validation = (TensorDataset(rows[part], labels[part]) for part in (slice(400), slice(400, None)))
    fit(
        trial,
        lightning.Trainer(**arguments(trial)),
        Network(trial.values),
        train_dataloaders=DataLoader(training, trial.values.batch_size, shuffle=True),
        val_dataloaders=DataLoader(validation, 200),
    )
