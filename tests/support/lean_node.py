"""`ray start`, given its arguments, of a node with as little as a private Ray has, and with workers made like its.

A worker that Ray starts by itself imports torch, which is most of what it costs: with these, the tests of
test_own_function_on_ray.py take 75 seconds of a core instead of 168 (measured). Those that ask for workers as Ray
starts them use `ray_node` or `ray_hosts`.
"""

import sys

from ray.scripts.scripts import start

from tlsweep.cluster.fork_server import ForkServer
from tlsweep.cluster.lean_ray import lean
from tlsweep.cluster.where import WORKERS_IMPORT

if __name__ == "__main__":
    server = ForkServer(WORKERS_IMPORT, threads=1)
    try:
        with lean(dashboard=False, workers=server.raylet_command):
            start(sys.argv[1:])
    finally:
        server.close()
