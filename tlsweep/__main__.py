"""The program: `python -m tlsweep`, and the installed script."""

import atexit
import os
import sys
import threading
import time
from contextlib import suppress

from tlsweep.allocation import keep_freed_memory, rare_collections
from tlsweep.cli import main
from tlsweep.cli.program import complain, show_defect
from tlsweep.cli.streams import open_streams
from tlsweep.errors import INTERRUPTED

PATIENCE = 60.0
"""Seconds that what this process has started may take to end."""


def run() -> None:
    """Run it, and end the process; after Ray or Arrow, without the destructors of C++'s static objects.

    Threads of Ray outlive `ray.shutdown` (2.60): now and then one of them logs through a registry that has just been
    destroyed, and a sweep that went well would end with a segmentation fault. Arrow (26.0) has, seldom and on a busy
    machine, ended a report that was complete with "terminate called without an active exception".
    """
    output = open_streams()
    sys.excepthook = show_defect
    keep_freed_memory()
    try:
        with rare_collections():
            main()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    else:
        code = 0
    sys.stdout.flush()
    if output.lost and not code:
        complain(f"error: cannot write to standard output: {output.lost.strerror}; name a file or terminal that can be")
        code = 2
    if not {"ray", "pyarrow"} & sys.modules.keys():
        sys.exit(code)
    if "ray" in sys.modules:
        threading.Thread(target=_give_up, args=[code], daemon=True).start()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does, before the functions of atexit
        atexit._run_exitfuncs()
    except KeyboardInterrupt:  # while a Ray is waited for that was just being started
        code = INTERRUPTED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _give_up(code: int) -> None:
    """End what does not end by itself, and this process.

    A Ray that is interrupted while it starts is ended once it is up. Seldom, on a busy machine, it never is: its client
    waits without end for the GCS that it has just started (ray 2.60, `GcsClient`), and so would we.
    """
    time.sleep(PATIENCE)
    import psutil  # found once Ray is imported, which brings it along and may be under way until now

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    os._exit(code)


if __name__ == "__main__":
    run()
