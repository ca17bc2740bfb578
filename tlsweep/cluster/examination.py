"""What a node is asked before trials run there.

These functions travel to the node by value (`preflight.py` arranges it): it may lack tlsweep, or have another one. So
nothing of tlsweep is imported before that is known, and nothing heavy at all.
"""

import importlib.util
import platform
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

PACKAGES = ("ray", "torch", "torchvision")
FREE_DISK = 1024**3
"""Bytes: Ray writes logs there, and objects for which memory is too small; checkpoints are of this order."""
STORE_PATIENCE = 10.0
"""Seconds that an object store may be away."""
SHARED = "choose --results that every node can read and write: a shared file system, or s3://…"
FULL = 0.95
"""Used share of a disk from which on Ray refuses to write objects there (its `local_fs_capacity_threshold`)."""


class Question(TypedDict):
    """What a sweep needs of every node."""

    versions: Mapping[str, str | None]
    """The versions of the driver, from `installed`."""
    modules: Sequence[str]
    """The modules of the user's own code."""
    images: Sequence[Any]
    """ObjectRefs of (items, indices): images that are decoded where trials run, and which of them to try."""
    location: str | None
    """A folder of the sweep in which workers write."""
    nonce: str
    """What to write there."""


def installed(also: Iterable[str] = ()) -> dict[str, str | None]:
    """Versions of what has to be the same on all nodes, and of packages of extras. That of tlsweep includes a hash of
    its code."""
    # cloudpickle sends byte code, which releases of one minor version share and others do not.
    major, minor, _ = platform.python_version_tuple()
    return {
        "python": f"{major}.{minor}",
        **{name: _version(name) for name in (*PACKAGES, *also)},
        "tlsweep": _own_version(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _own_version() -> str | None:
    """A checkout, and code that was shipped with a job, change more often than their version."""
    found = importlib.util.find_spec("tlsweep")
    if found is None or not found.submodule_search_locations:
        return None
    root, digest = Path(found.submodule_search_locations[0]), sha256()
    # Sorted, because each file system lists in an order of its own, and the same code shall give the same hash.
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return f"{_version('tlsweep') or '(not installed)'}, code {digest.hexdigest()[:8]}"


class Answer(NamedTuple):
    """What a node found. Each problem is a sentence with value, rule and way out."""

    problems: list[str]
    wrote: bool
    """Whether the driver should find a probe now."""
    clock: float
    """Seconds since 1970, as the node has it."""


def examine(question: Question, node: str) -> tuple[Any, ...]:
    """What there is to say on a node: an `Answer` in the form of a plain tuple."""
    wanted = question["versions"]
    problems = [*_other_versions(wanted), *_missing_modules(question["modules"]), *_full_disks()]
    unwritable = None
    if wanted["tlsweep"] == _own_version():  # what follows is done with it, as trials do it
        problems += _unreadable_images(question["images"])
        unwritable = (
            _unwritable_location(question["location"], node, question["nonce"]) if question["location"] else None
        )
        problems += unwritable or []
    return tuple(Answer(problems, wrote=unwritable == [], clock=time.time()))


def _other_versions(wanted: Mapping[str, str | None]) -> list[str]:
    there = installed(wanted.keys() - installed().keys())
    other = [
        f"{name} {there[name] or 'missing'} (driver: {wanted[name]})" for name in wanted if there[name] != wanted[name]
    ]
    if other:
        return [f"{', '.join(other)}: all nodes need the same; install cluster/requirements.lock there"]
    return []


def _full_disks() -> list[str]:
    """Find whether the disk of Ray's own folder is full, which it also spills objects to."""
    import ray

    return full_disk(Path(ray.get_runtime_context().get_temp_dir()), "Ray's folder", "ray start --temp-dir=…")


def full_disk(folder: Path, name: str, way_out: str) -> list[str]:
    """A problem if there is too little room where `folder` is."""
    disk = shutil.disk_usage(folder)
    free = f"{name} '{folder}' has {disk.free / 1024**2:,.0f} MB free"
    if disk.free < FREE_DISK:
        return [f"{free}, fewer than {FREE_DISK / 1024**2:,.0f}; make room there, or choose another one ({way_out})"]
    if disk.free < (1 - FULL) * disk.total:
        return [
            f"{free}, and Ray keeps no objects on a disk that is used to more than {FULL:.0%}; make room there, or "
            f"choose another one ({way_out})"
        ]
    return []


def _missing_modules(modules: Sequence[str]) -> list[str]:
    missing = []
    for name in modules:
        found = None
        with suppress(ImportError):
            # Looked for, and not imported: a module of the user's may take a GPU, or minutes, when it is.
            found = importlib.util.find_spec(name)
        if found is None:
            missing.append(
                f"your module '{name}' cannot be found; put it into the folder where tlsweep is started, at the same "
                "path on every node, or send it along with tlsweep submit"
            )
    return missing


def _unreadable_images(images: Sequence[Any]) -> list[str]:
    """The first problem of each set."""
    import ray

    problems = []
    for reference in images:
        name = "images"
        try:
            items, indices = ray.get(reference)
            for index in indices:
                name = f"image '{items.name(index)}'"
                with items.open(index)[0]:
                    pass
        except Exception as error:  # the user's data set may raise anything
            problems.append(
                f"{name} cannot be opened ({last_line(error)}); what is larger than data.memory_limit is read where "
                "trials run: put the images at the same path on every node, or raise data.memory_limit"
            )
    return problems


def _unwritable_location(folder: str, node: str, nonce: str) -> list[str]:
    """Write as a trial would, and read back; the driver looks for the file afterwards."""
    from tlsweep.store.files import write_whole
    from tlsweep.store.locations import to_location

    location = to_location(folder)
    if isinstance(location, Path) and not location.is_dir():
        return [f"results folder '{folder}' is not there; {SHARED}"]
    probe, content = probe_in(location, node), nonce.encode()
    try:
        if isinstance(probe, Path):
            write_whole(probe, content)
        else:
            probe.write_bytes(content, patience=STORE_PATIENCE)
        back = probe.read_bytes()
    except OSError as error:
        return [f"results cannot be written to '{folder}' and read back ({last_line(error)}); {SHARED}"]
    if back == content:
        return []
    return [f"'{folder}' does not give back what is written to it; {SHARED}"]


def probe_in(location: Any, node: str) -> Any:
    """The folder that a node writes to: one of its own, like a trial's."""
    return location / f"preflight-{node[:16]}" / "probe"


def last_line(error: BaseException) -> str:
    """The last line of an error's message: Ray's hold whole tracebacks."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if lines:
        return f"{type(error).__name__}: {lines[-1].strip()}"
    return type(error).__name__
