"""Lets optimizers step without torch's compiler, whose import takes a second in every process that trains.

torch's `Optimizer` imports `torch._dynamo` when it is made, and again in each step, to keep the compiler out of them
(torch 2.15, `_compile.py`, `optim/optimizer.py _use_grad_for_differentiable`), also where nothing is compiled. Only the
network ever is, so the optimizer's plain functions serve.
"""

import functools
import inspect

import torch

_GUARDED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def leave_compiler_out() -> None:
    """Let optimizers be made, read and restored without the compiler from now on."""
    for name in _GUARDED:
        plain = inspect.unwrap(getattr(torch.optim.Optimizer, name))
        # Where the guard looks for the function that it made at an earlier call.
        setattr(plain, "__dynamo_disable", plain)


_plain_step = functools.cache(inspect.unwrap)


def step(optimizer: torch.optim.Optimizer) -> None:
    """Take the step that `optimizer.step()` takes; hooks of the optimizer are left out."""
    with torch.no_grad():
        _plain_step(type(optimizer).step)(optimizer)
