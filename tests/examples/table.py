"""Tells benign tumours from malignant ones by thirty measurements: the same loop for a sweep."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn import functional as F


def load():
    rows, labels = load_breast_cancer(return_X_y=True)
    rows = torch.tensor(rows, dtype=torch.float32)
    return (rows - rows[:400].mean(0)) / rows[:400].std(0), torch.tensor(labels)


def train(trial):
    rows, labels = trial.share("tumours", load)
    hidden, batch_size = trial.values.hidden, trial.values.batch_size
    model = nn.Sequential(nn.Linear(30, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.values.lr)
    if state := trial.restore():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    trial.apply_lr(optimizer)
    for _ in trial.epochs():
        model.train()
        for batch in torch.randperm(400).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(rows[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = model(rows[400:])
        val_loss = F.cross_entropy(logits, labels[400:])
        found = (logits.argmax(1)[labels[400:] == 0] == 0).float().mean()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        trial.report(val_loss=val_loss, malignant_found=found, state=state)
