"""Functions that are called where trials run tell how far they are, and what they raise, from there."""

from collections.abc import Callable
from typing import Any

import pytest

from tlsweep.cluster.starting import RayStart
from tlsweep.errors import ModelError
from tlsweep.spec import load_spec
from tlsweep.sweep.on_workers import telling_where_trials_run


class Elsewhere:
    """A cluster that is not this machine alone, or is."""

    def __init__(self, local: bool) -> None:
        self.local = local

    def trial_gpus(self, resources: object) -> float:
        return 0.0


@pytest.mark.slow  # as slow tests have this Ray anyway
def test_progress_comes_in_order_and_what_is_raised_is_one_message(ray_address: str) -> None:
    def counting(upto: int, *, progress: Callable[[int, int], None]) -> str:  # pickled by value, as it is local
        for done in range(upto):
            progress(done, upto)
        if not upto:
            raise ModelError("there is nothing to count")
        return "counted"

    spec = load_spec("digits")
    with RayStart(spec.resources, local=False, address=ray_address, dashboard=False) as starting:
        starting.cluster()
        for local in (True, False):
            told: list[tuple[int, int]] = []
            cluster: Any = Elsewhere(local)

            def call(upto: int, cluster: Any = cluster, told: list[tuple[int, int]] = told) -> Any:
                return telling_where_trials_run(counting, spec, cluster, upto, progress=lambda *now: told.append(now))

            assert call(20) == "counted"
            assert told == [(done, 20) for done in range(20)]
            with pytest.raises(ModelError, match=r"^there is nothing to count$"):
                call(0)
