"""Lets processes of the program keep memory that training has freed, in huge pages, for the next step to use, and look
for garbage as seldom as pays.

By default glibc gives activations back to the kernel in every step, which makes them anew, and empty, page by page of 4
KiB: a fifth of the time of SqueezeNet at 224 px (measured). A process of the user's own that calls a function of ours
is left alone.
"""

import ctypes
import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

_SETTINGS: Final = {
    "trim_threshold": 1 << 40,
    # Larger blocks are still given back, one by one: glibc takes no more (2.36, malloc.c, `do_set_mmap_threshold`).
    "mmap_threshold": 32 << 20,
    # The arena of another thread ends with its 64 MiB whatever is set (arena.c, `heap_trim`), and Tune trains in one.
    "arena_max": 1,
}
"""What glibc is told, by the names of its tunables."""

_NUMBERS: Final = {"trim_threshold": -1, "mmap_threshold": -3, "arena_max": -8}
"""What mallopt calls them (malloc.h)."""

_TORCH_SWITCH: Final = "THP_MEM_ALLOC_ENABLE"


def keeping(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is to keep what it frees, in huge pages where the kernel gives some if asked.

    What that process starts inherits it.
    """
    if _chosen(environment):
        return dict(environment)
    # Better than torch's switch, with which large blocks begin with a page: a tenth less memory (measured).
    tunables = _SETTINGS | {"hugetlb": 1}
    told = ":".join(f"glibc.malloc.{name}={value}" for name, value in tunables.items())
    return {**environment, "GLIBC_TUNABLES": told}


@cache
def keep_freed_memory() -> None:
    """The same for this process, which runs already, unless that is settled, here or where it was forked."""
    # Without huge pages it would cost time in a thread that has begun, as in a worker that Ray has started (measured).
    if _chosen(os.environ) or not _huge_pages():
        return
    # torch looks when it first allocates (2.15, alloc_cpu.cpp, `is_thp_alloc_enabled`). Past os.environ, which a fork
    # server is given: its workers have the tunables instead.
    os.putenv(_TORCH_SWITCH, "1")
    with _where_it_is_glibc():
        mallopt = ctypes.CDLL(None).mallopt
        for name, number in _NUMBERS.items():
            value = _SETTINGS[name]
            mallopt(number, value if value < 1 << 31 else -1)  # it takes an int; -1 is no limit (mallopt(3))


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python look for garbage more seldom than it does by itself, while the block runs.

    What torch, pandas and Ray make as they are imported all stays: a sixth of that time went into looking through it
    again and again (measured).
    """
    before = gc.get_threshold()
    if before[0]:  # else it never looks
        gc.set_threshold(max(20_000, before[0]), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def give_back_freed_memory() -> None:
    """Give it back once, where this process is to do other things than before: milliseconds."""
    with _where_it_is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _chosen(environment: Mapping[str, str]) -> bool:
    """Whether the user has told malloc what to do, or has put another one in its place."""
    told = any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", _TORCH_SWITCH) for name in environment)
    return told or "malloc" in environment.get("LD_PRELOAD", "")


def _huge_pages() -> bool:
    """Whether the kernel gives huge pages if asked; there are none elsewhere than on Linux."""
    with suppress(OSError):
        return "[never]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    return False


def _where_it_is_glibc() -> suppress:
    """Do nothing where the C library has no such function, or where there is none to ask (Windows: TypeError)."""
    return suppress(AttributeError, TypeError)
