"""The sections `budget:`, `faults:`, `resources:`: when a sweep ends, what a trial gets, what is done if one fails."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tlsweep.spec.base import Seconds, SpecModel


class Budget(SpecModel):
    """When the sweep ends, beside having run all its trials; whichever comes first."""

    epochs: int | None = Field(None, ge=1)
    """Epochs over all trials of an arm together."""
    device_hours: float | None = Field(None, gt=0)
    """Hours of GPUs over all trials of an arm together, where trials have GPUs; of CPU cores where they have none.
    Half a GPU for two hours is one. Training, validation and waiting between epochs count."""
    wall_time: Seconds | None = None
    """Seconds, or '90s', '15m', '1h30m', from when a worker takes the first trial."""
    target: float | None = None
    """Stop as soon as a trial's metric is this good; with the first report where that of what trials begin with is."""

    @property
    def limited(self) -> bool:
        """Whether there is only so much of anything."""
        return not (self.epochs is None and self.device_hours is None and self.wall_time is None)


class Faults(SpecModel):
    """What to do with a trial that fails."""

    max_failures: int = Field(2, ge=0)
    """How often a trial that raises, hangs or loses its process goes on from its last checkpoint; then it has
    failed, and the sweep goes on without it. The loss of a whole node is not counted."""
    report_timeout: Seconds | None = None
    """A trial that sends no report for so long hangs, and fails: seconds, or '30s', '10m'. Longer than any epoch,
    its validation and checkpoint included, and than a worker takes to import torch and build the network."""


_FINEST = 0.0001
"""Ray counts resources in ten-thousandths."""


class Resources(SpecModel):
    """What one trial gets; how many run at once follows from what there is."""

    cpus: float = Field(1.0, gt=0)
    """CPU cores; the trial uses as many threads (at least one)."""
    processes: int = Field(1, ge=1)
    """Processes of a trial of a function of yours, on one machine, which torch.distributed has joined
    (`DistributedDataParallel`). They share the trial's cores; GPUs are as many or none."""
    gpus: float | Literal["auto"] = "auto"
    """GPUs, fractions allowed; `auto`: one for each process where the cluster has any, else none."""
    concurrent: int | None = Field(None, ge=1)
    """How many trials may run at once."""

    @property
    def threads(self) -> int:
        """CPU threads of a trial."""
        return max(1, int(self.cpus))

    @model_validator(mode="after")
    def _each_process_has_a_gpu(self) -> "Resources":
        if self.processes > 1 and self.gpus not in ("auto", 0, self.processes):
            raise ValueError(
                f"gpus = {self.gpus:g}: each of processes = {self.processes} has a GPU of its own or none; write "
                f"{self.processes}, 0 or auto"
            )
        return self

    @field_validator("cpus", "gpus", mode="before")
    @classmethod
    def _not_finer_than_ray_counts(cls, value: Any) -> Any:
        if isinstance(value, int | float) and 0 < value < _FINEST:
            raise ValueError(f"must be at least {_FINEST}, or Ray would count none")
        return value

    @field_validator("gpus", mode="before")
    @classmethod
    def _one_gpu_or_a_part_of_it(cls, value: Any, info: ValidationInfo) -> Any:
        stored = bool(info.context and info.context.get("stored"))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Earlier versions let a trial hold several GPUs, of which it used one: their sweeps can still go on.
        several = stored or info.data.get("processes", 1) > 1
        if value != "auto" and not (number and (0 <= value <= 1 or (several and value > 1))):
            raise ValueError(
                "must be 'auto', or a number from 0 to 1: a process trains on one GPU, or a part of it; several GPUs "
                "are for a function of yours, with as many resources.processes"
            )
        return value
