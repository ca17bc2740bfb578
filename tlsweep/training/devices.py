"""The device on which a trial computes, on which it leaves nothing behind."""

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tlsweep.errors import ResourceError
from tlsweep.spec import TrainSettings


@dataclass(frozen=True)
class Compute:
    """What a trial may compute with."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    threads: int | None = None
    """CPU threads; None: as torch is set."""
    micro_batch: int | None = None
    """Images that the device's memory is known to take in one forward pass of training; larger batches are divided from
    the start. None: whole batches. Either is halved when the memory turns out to be too small."""


def choose_device(device: str) -> str:
    """Choose `cuda`, `mps` or `cpu` for `auto`, the first that this machine has; any other name must be there.

    Raises:
        ResourceError: the device does not exist here.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(kind for kind, here in available.items() if here)
    kind, _, index = device.partition(":")
    if not available.get(kind) or (index and (not index.isdigit() or int(index) >= _count(kind))):
        here = ", ".join(kind for kind, found in available.items() if found)
        raise ResourceError(
            f"device '{device}' is not on this machine, which has {here}; choose one of them, or 'auto'"
        )
    return device


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


_TENSOR_CORES = (7, 0)
"""The compute capability from which on GPUs are faster in float16 than in float32: that of the V100."""


def lower_precision(settings: TrainSettings, device: str) -> torch.dtype | None:
    """What to autocast to: what is asked for; by `auto`, on a GPU, what its hardware computes fast. None: float32.

    Raises:
        ResourceError: float16 is asked for, and the device is none that has it.
    """
    match settings.precision:
        case "fp32":
            return None
        case "bf16":
            return torch.bfloat16
        case "fp16":
            if not computes_in_fp16(device):
                raise ResourceError(
                    f"train.precision = fp16: training on {device} has no use for it, only on GPUs of NVIDIA or AMD; "
                    "write bf16, fp32 or auto"
                )
            return torch.float16
    if not device.startswith("cuda"):
        return None
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    # The noise scale is measured from gradients of single parts, which nobody scales.
    fast = torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    return torch.float16 if fast and not settings.noise_scale else None


def computes_in_fp16(device: str) -> bool:
    """Whether training can be told to compute in float16 there."""
    return device.startswith("cuda")


def move_to_device(module: nn.Module, device: str, wanted: bool | Literal["auto"] = "auto") -> bool:
    """Move a network to its device, in the memory format in which it computes there; whether that is channels last."""
    module.to(device)
    channels_last = uses_channels_last(module, device, wanted)
    if channels_last:
        module.to(memory_format=torch.channels_last)
    return channels_last


def uses_channels_last(module: nn.Module, device: str, wanted: bool | Literal["auto"] = "auto") -> bool:
    """Whether images and convolutions are stored channels last.

    `auto`: on CUDA, whose tensor cores want it, and on CPUs, whose kernels compute a step of most networks 1.1 to 1.8
    times as fast (`tests/bench/memory_format.py`). A network without convolutions would copy each batch to flatten it.
    """
    if wanted != "auto":
        return wanted
    return not device.startswith("mps") and any(isinstance(layer, nn.Conv2d) for layer in module.modules())


def synchronize(device: str) -> None:
    """Wait until the device has done what it was asked to do."""
    torch.get_device_module(torch.device(device)).synchronize()


def device_name(device: str) -> str:
    """The name of a GPU, else the kind of device."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return device


def reset_peak_memory(device: str) -> None:
    """Start to measure the peak from here."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> int:
    """Peak of the allocated bytes since the last reset; 0 where nobody counts them (CPU, MPS)."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return 0


def free_memory(device: str) -> None:
    """Give back to the device what is no longer used, also what only a reference cycle still holds."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def generator_states(device: str) -> tuple[Tensor, ...]:
    """The states of torch's global generators, the CPU's first; for `restore_generators`."""
    states = (torch.default_generator.get_state(),)
    if device.startswith("cuda"):
        return (*states, torch.cuda.get_rng_state(device))
    if device == "mps":
        return (*states, torch.mps.get_rng_state())
    return states


def restore_generators(device: str, states: tuple[Tensor, ...]) -> None:
    """Put back what `generator_states` gave for this device."""
    torch.default_generator.set_state(states[0])
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(states[1], device)
    elif device == "mps":
        torch.mps.set_rng_state(states[1])


def seed_generators(seed: int, device: str) -> None:
    """Seed torch's global generators of the CPU and the device, from which dropout draws.

    Not `torch.manual_seed`: on a machine without a GPU it notes down its caller, 1 ms, for when there is one.
    """
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device == "mps":
        torch.mps.manual_seed(seed)


@contextlib.contextmanager
def isolated(compute: Compute) -> Iterator[str]:
    """Choose the device, and let torch compute with these CPU threads inside; afterwards they and the global generators
    are as before.

    Worker processes are used again: what a trial leaves behind would change the numbers of the next one.

    Raises:
        ResourceError: the device does not exist here.
    """
    # Chosen before anything is changed: what does not exist here must leave no trace.
    device = choose_device(compute.device)
    threads_before = torch.get_num_threads()
    gpus = []
    if device.startswith("cuda"):
        gpus.append(int(device[5:]) if ":" in device else torch.cuda.current_device())
    # Named, because it would otherwise start every GPU of the machine (torch/random.py), also those of other trials.
    with torch.random.fork_rng(gpus):
        try:
            if compute.threads is not None:
                torch.set_num_threads(compute.threads)
            yield device
        finally:
            torch.set_num_threads(threads_before)


def autocast(settings: TrainSettings, device: str) -> contextlib.AbstractContextManager[object]:
    """The precision of forward passes; can be entered again and again."""
    dtype = lower_precision(settings, device)
    return contextlib.nullcontext() if dtype is None else torch.autocast(torch.device(device).type, dtype)
