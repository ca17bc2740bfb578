"""Named, seeded generators: every random choice has its own, so that none disturbs another."""

import hashlib
import random


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the choice called `names`, the same on every machine and version of Python."""
    text = "/".join(str(part) for part in (seed, *names))
    # Not hash(), which Python salts in each process (PYTHONHASHSEED).
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> random.Random:
    """The generator of the choice called `names`."""
    return random.Random(derive_seed(seed, *names))
