"""What an event `exploited` says: where a new generation of a trial came from, and what it goes on with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlsweep.spec.search.space import Value


@dataclass(frozen=True)
class Descent:
    """The origin of a generation, as `tlsweep.schedulers.Exploit.to_details` wrote it down.

    Readers of a journal or of events.parquet know it by this class; a rule that decides knows an `Exploit`. Their
    rooms do not know each other, so a test holds the two to the same keys.
    """

    donor: str
    donor_generation: int
    epoch: int
    """Epochs that the copied weights have been trained for."""
    checkpoint: str
    digest: str | None
    """SHA-256 of the checkpoint; the first versions wrote none."""
    hyperparameters: Mapping[str, Value]
    """All hyperparameters in force from now on."""

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> "Descent":
        """Read the details of an event `exploited`.

        Raises:
            KeyError: they lack a value; `shapes` says so first wherever a file is read.
        """
        return cls(
            donor=details["donor"],
            donor_generation=details["donor_generation"],
            epoch=details["donor_epoch"],
            checkpoint=details["checkpoint"],
            digest=details.get("digest"),
            hyperparameters=details["hyperparameters"],
        )
