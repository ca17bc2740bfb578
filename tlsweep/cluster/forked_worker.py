"""What a raylet starts where it wants a worker: asks the fork server for one.

A program of its own, run by its path, which imports next to nothing (10 ms): `fork_server.py` says why.
"""

import json
import os
import socket
import sys

_ENVIRONMENT = "--serialized-runtime-env-context="
"""By it a worker is told of a runtime environment, which may have another Python, and other variables."""


def main(address: str, *command: str) -> None:
    """Ask at `address` for a process like `command`; become that where nobody answers."""
    if any(part.startswith(_ENVIRONMENT) for part in command) or not _forked(address, command):
        os.execv(command[0], command)


def _forked(address: str, command: tuple[str, ...]) -> bool:
    """Whether the server has made one."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:  # the raylet has just set it
        oom_score = file.read()
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    content = json.dumps([command, dict(os.environ), os.getcwd(), niceness, oom_score]).encode()
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(f"\0{address}")
            sent = socket.send_fds(server, [content], [0, 1, 2])
            server.sendall(content[sent:])
            server.shutdown(socket.SHUT_WR)
            return bool(server.recv(1))
    except OSError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
