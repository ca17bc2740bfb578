"""Tells benign tumours from malignant ones by thirty measurements: a plain PyTorch loop."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn import functional as F


def load():
    rows, labels = load_breast_cancer(return_X_y=True)
    rows = torch.tensor(rows, dtype=torch.float32)
    return (rows - rows[:400].mean(0)) / rows[:400].std(0), torch.tensor(labels)


def train(lr=0.01, batch_size=32, hidden=16, epochs=9):
    rows, labels = load()
    model = nn.Sequential(nn.Linear(30, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for epoch in range(1, epochs + 1):
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
        print(f"epoch {epoch}: loss {val_loss:.3f}, malignant ones found {found:.3f}")


if __name__ == "__main__":
    train()
