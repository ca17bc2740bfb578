"""What trains needs no compiler, and the steps are those of torch (test_optimizers.py compares them)."""

import subprocess
import sys

import pytest
import torch

from tlsweep.spec.optimizers import OPTIMIZERS
from tlsweep.training.optimization.eager_steps import leave_compiler_out, step

TRAIN_AND_GO_ON = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from tlsweep.data import load_task
from tlsweep.models.network import validate_model
from tlsweep.spec import DigitsData, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import Transfer, finetune

with TemporaryDirectory() as cache:
    task = load_task(DigitsData(source="digits", labels_per_class=2), 0, cache=Path(cache))
model = ModelSpec(args={"channels": [2], "dense": [4]})
validate_model(model, num_classes=10, channels=1, image_size=8, smallest_batch=1)
for optimizer in sys.argv[1:]:
    states = []
    report = lambda row, snapshot: states.append(snapshot()())
    values = Hyperparameters(optimizer=optimizer)
    finetune(values, TrainSettings(epochs=1), Transfer(task, model, None, 0), report=report)
    finetune(values, TrainSettings(epochs=2), Transfer(task, model, None, 0), report=report, resume=states[0])
    assert len(states) == 2
assert "torch._dynamo" not in sys.modules
assert not {"torchvision", "sympy"} & set(sys.modules)
"""


def test_a_trial_is_made_trained_and_gone_on_with_without_torchs_compiler() -> None:
    subprocess.run([sys.executable, "-c", TRAIN_AND_GO_ON, *OPTIMIZERS], check=True, timeout=120)


@pytest.mark.parametrize("make", [torch.optim.RMSprop, torch.optim.NAdam, torch.optim.Adadelta])
def test_any_optimizer_of_torch_steps_as_it_does_itself(make: type[torch.optim.Optimizer]) -> None:
    """Also those that nobody has added yet."""
    values = []
    for take in (step, lambda optimizer: optimizer.step()):
        leave_compiler_out()
        parameter = torch.nn.Parameter(torch.arange(4.0))
        optimizer = make([parameter])
        for _ in range(3):
            (parameter**2).sum().backward()
            take(optimizer)
            optimizer.zero_grad()
        values.append(parameter.detach())
    assert torch.equal(*values)
