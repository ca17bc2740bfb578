"""Stands where a private Ray would have one of its agents: says that no such service is there, and waits.

A program of its own, run by its path with nothing of Ray or tlsweep imported: `lean_ray.py` says why.
"""

import os
import sys
import time

_LOOK_SECONDS = 1.0


def main(folder: str, node: str, *ports: str) -> None:
    """Write down ports (name=number) as an agent does, -1 for what is not there, and end with the raylet."""
    raylet = os.getppid()
    for port in ports:
        name, _, number = port.partition("=")
        path = os.path.join(folder, f"{name}_{node}")
        # Whole at once: the raylet looks for the file again and again, and reads it as soon as it is there.
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(number)
        os.rename(f"{path}.new", path)
    while os.getppid() == raylet:
        time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
