"""Processes of the program keep what they free; whoever has chosen otherwise, or only calls the library, is left alone.

Counted in faults of pages: how often the kernel has to make one. Nothing depends on how long it takes.
"""

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
from page_faults import STEPS

from tlsweep.allocation import keeping, rare_collections
from tlsweep.spec import load_spec
from tlsweep.sweep import on_workers, trainable

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keeps what glibc gives back")

CHOICES = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "THP_MEM_ALLOC_ENABLE")
UNCHOSEN = {name: value for name, value in os.environ.items() if not name.startswith(CHOICES)}

HERE = f"{STEPS}print(count())"
IN_A_THREAD = f"{STEPS}print(ThreadPoolExecutor(1).submit(count).result())"
KEEP = "from tlsweep.allocation import keep_freed_memory; keep_freed_memory()\n"

TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MODE = TRANSPARENT.read_text(encoding="ascii") if TRANSPARENT.exists() else "[never]"
with_huge_pages = pytest.mark.skipif("[never]" in MODE, reason="needs a kernel with huge pages")
on_request = pytest.mark.skipif("[madvise]" not in MODE, reason="needs a kernel with huge pages for who asks")


def said(code: str, environment: Mapping[str, str] = UNCHOSEN) -> str:
    ended = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert ended.stderr == ""
    return ended.stdout.splitlines()[-1]


def faults(code: str, environment: Mapping[str, str] = UNCHOSEN) -> int:
    return int(said(code, environment))


@pytest.mark.parametrize("code", [HERE, IN_A_THREAD], ids=["here", "in a thread"])
def test_a_process_that_is_started_so_keeps_what_it_frees(code: str) -> None:
    assert faults(code, keeping(UNCHOSEN)) < faults(code) / 20


@with_huge_pages
@pytest.mark.parametrize("code", [HERE, IN_A_THREAD], ids=["here", "in a thread"])
def test_a_process_that_runs_keeps_what_it_frees_from_then_on(code: str) -> None:
    assert faults(KEEP + code) < faults(code) / 20


@with_huge_pages
def test_the_program_does_and_a_process_that_has_the_library_does_not() -> None:
    program = (
        "import sys; sys.argv = ['tlsweep', '--version']\nimport tlsweep.__main__\n"
        "try: tlsweep.__main__.run()\nexcept SystemExit: pass\n"
    )
    plain = faults(HERE)
    assert faults(program + HERE) < plain / 20
    assert faults("import tlsweep, tlsweep.training, tlsweep.sweep.driver\n" + HERE) > plain / 2


@pytest.mark.parametrize(
    "choice", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}]
)
def test_what_a_user_has_told_malloc_stays(choice: dict[str, str]) -> None:
    assert keeping(choice) == choice
    assert faults(KEEP + HERE, UNCHOSEN | choice) > faults(HERE) / 2


@pytest.mark.parametrize("choice", [{"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, {"THP_MEM_ALLOC_ENABLE": "0"}])
def test_another_malloc_is_told_nothing_nor_is_one_without_huge_pages(choice: dict[str, str]) -> None:
    assert keeping(choice) == choice


@with_huge_pages
def test_torch_is_told_past_what_python_hands_on_and_where_nobody_has_chosen() -> None:
    told = (
        f"{KEEP}import ctypes, os; get = ctypes.CDLL(None).getenv; get.restype = ctypes.c_char_p\n"
        "print(get(b'THP_MEM_ALLOC_ENABLE'), os.environ.get('THP_MEM_ALLOC_ENABLE'))"
    )
    assert said(told) == "b'1' None"
    assert said(told, UNCHOSEN | {"THP_MEM_ALLOC_ENABLE": "0"}) == "b'0' 0"
    assert said(told, keeping(UNCHOSEN)) == "None None"  # glibc asks


@on_request
def test_huge_pages_are_asked_for_by_glibc_or_by_torch_even_if_that_was_imported_before() -> None:
    """A mapping for which somebody has asked has the flag `hg` (proc_pid_smaps(5))."""
    asked = "print(any(' hg' in line for line in open('/proc/self/smaps')))\n"
    assert said(f"import torch\n{KEEP}held = torch.ones(16 << 20)\n{asked}") == "True"
    assert said(f"held = bytearray(16 << 20)\n{asked}", keeping(UNCHOSEN)) == "True"
    assert said(f"held = bytearray(16 << 20)\n{asked}") == "False"


class Begun(Exception):
    pass


def begin() -> NoReturn:
    raise Begun


BEGINNINGS: dict[str, tuple[ModuleType, Callable[[], object]]] = {
    "trials": (trainable, lambda: trainable.make_trainable(cast(Any, None))({})),
    "a call": (on_workers, lambda: on_workers._in_worker(print)),
    "a call that tells of its progress": (on_workers, lambda: next(on_workers._with_progress(print))),
}


@pytest.mark.parametrize("what", BEGINNINGS)
def test_a_worker_begins_with_it(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    module, work = BEGINNINGS[what]
    monkeypatch.setattr(module, "keep_freed_memory", begin)
    with pytest.raises(Begun):
        work()


def test_the_driver_does_not_where_it_does_the_work_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_workers, "keep_freed_memory", begin)
    here: Any = SimpleNamespace(local=True, trial_gpus=lambda resources: 0.0)
    assert on_workers.where_trials_run(abs, load_spec("digits"), here, -1) == 1
    assert on_workers.telling_where_trials_run(dict, load_spec("digits"), here, progress=print) == {"progress": print}


@with_huge_pages
def test_it_is_given_back_where_other_things_are_to_be_done() -> None:
    code = (
        f"{KEEP}{STEPS}count()\nfrom tlsweep.allocation import give_back_freed_memory\n"
        "def pages():\n    with open('/proc/self/statm') as file: return int(file.read().split()[1])\n"
        "before = pages(); give_back_freed_memory(); print((before - pages()) * resource.getpagesize())"
    )
    assert int(said(code)) > 60 << 20


@pytest.mark.parametrize(
    ("chosen", "meanwhile"), [((700, 10, 10), (20_000, 10, 10)), ((0, 5, 5), (0, 5, 5)), ((50_000, 2, 2),) * 2]
)
def test_garbage_is_looked_for_more_seldom_meanwhile_unless_somebody_has_chosen_so(
    chosen: tuple[int, int, int], meanwhile: tuple[int, int, int]
) -> None:
    before = gc.get_threshold()
    gc.set_threshold(*chosen)
    try:
        with rare_collections():
            assert gc.get_threshold() == meanwhile
        assert gc.get_threshold() == chosen
    finally:
        gc.set_threshold(*before)
