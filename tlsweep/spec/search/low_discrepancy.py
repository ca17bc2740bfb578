"""Configurations that cover a search space evenly: the Sobol sequence, scrambled by the seed.

Of few random configurations several lie close together (with seed 0, the first eight learning rates of 3e-5 to 1e-3 all
lay between 1.7e-4 and 4.1e-4). Of the first 2^k points of the sequence, one lies in each 2^k-th of every axis (Sobol
1967; scrambled as by Owen 1998 with a random linear matrix and a digital shift: Matousek 1998, which SciPy has).
"""

from collections.abc import Mapping
from functools import lru_cache

from tlsweep.spec.search.space import Distribution, Value
from tlsweep.spec.seeds import derive_seed


def sobol_values(space: Mapping[str, Distribution], seed: int, number: int) -> dict[str, Value]:
    """What is searched, for trial `number`: the point of that number in a sequence for this space."""
    if not space:
        return {}
    point = _points(derive_seed(seed, "sobol"), len(space), number.bit_length())[number]
    return {name: space[name].quantile(share) for name, share in zip(space, point, strict=True)}


@lru_cache(maxsize=4)
def _points(seed: int, dimensions: int, power: int) -> list[list[float]]:
    """The first 2^power points; those of a smaller power are among them."""
    from scipy.stats import qmc  # takes a third of a second

    points: list[list[float]] = qmc.Sobol(dimensions, seed=seed).random_base2(power).tolist()
    return points
