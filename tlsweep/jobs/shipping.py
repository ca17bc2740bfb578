"""What a job takes along to a cluster: the spec, and the user's own code."""

import os
import stat
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from tlsweep.errors import ResourceError, SpecError
from tlsweep.jobs.unshipped import PRIVATE_KEY, holds_private_key, is_secret, why_left_out
from tlsweep.spec import DataSpec, FunctionSpec, ImageSpec, SourceTask, SweepSpec, dump_spec
from tlsweep.spec.extension import unwritten
from tlsweep.text import one_line

SPEC_FILE = "tlsweep-spec.yaml"
LIMIT = 100 * 1024**2
"""Bytes of a package that Ray's dashboard takes (ray_constants.DASHBOARD_CLIENT_MAX_SIZE)."""
_WEIGHT_FILES = (".pth", ".pt", ".safetensors")
_RESULTS = "results"
_REPOSITORY = "a repository of its own"
_INSTALLED = {"site-packages", "dist-packages"}
"""The folders of installed packages: of this environment, the user, the system, or wherever else Python looks."""


@dataclass
class Shipment:
    """What goes to a cluster, and what does not."""

    files: dict[str, Path] = field(default_factory=dict)
    """The files by the names that they have there."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Files and folders that stay here, with the reason; not those that git ignores."""
    spec: bytes | None = None
    """Becomes SPEC_FILE; None where the sweep that is resumed has its own."""

    @property
    def written(self) -> dict[str, int]:
        """Sizes of the files that are made for the job."""
        return {} if self.spec is None else {SPEC_FILE: len(self.spec)}

    @property
    def secrets(self) -> list[str]:
        """What stays here because others on the cluster could read it."""
        return sorted(name for name, why in self.left_out.items() if is_secret(why))

    @property
    def repositories(self) -> list[str]:
        """Submodules and other repositories below the folder, which stay here."""
        return sorted(name for name, why in self.left_out.items() if why == _REPOSITORY)

    def add(self, root: Path, path: Path) -> None:
        """Take a file along, or note why not.

        Args:
            root: Its names count from here, and links must not lead out of it.
            path: A file, or whatever else has a name; of folders only links are looked at.

        Raises:
            ResourceError: it is a link out of `root`.
        """
        name = path.relative_to(root).as_posix()
        why = why_left_out(path.relative_to(root).parts, folder=path.is_dir())
        if why is None and path.is_symlink():
            why = _where_to(root, path)
        if why is None and not path.is_dir():
            why = _by_content(path)
        if why is not None:
            self.left_out[name] = why
        elif not path.is_dir():
            self.files[name] = path


def gather(spec: SweepSpec | None, code: Path | None) -> Shipment:
    """Find what a job takes along.

    Args:
        spec: None where the sweep that is resumed has its own.
        code: A folder that is taken along as it is; else the modules that the spec names are.

    Raises:
        SpecError: a module that the spec names is not here, or a path would be looked for in the job's folder.
        ResourceError: `code` is no folder, or a link leads out of what is shipped.
    """
    if spec is not None and code is None:
        _refuse_relative(spec)
    # What nobody wrote must be left out there too, where the job may go on with a sweep of an earlier version.
    shipment = Shipment(spec=dump_spec(spec, unwritten(spec)).encode() if spec is not None else None)
    try:
        if code is not None:
            _add_folder(shipment, code)
        elif spec is not None:
            _add_modules(shipment, spec)
    except OSError as error:
        raise _unreadable(error.filename, error) from None
    return shipment


def pack(archive: Path, spec: SweepSpec | None, code: Path | None) -> Shipment:
    """Write the working directory of a job as a zip file; what is in it.

    Args:
        archive: The file to write.
        spec, code: The arguments of `gather`.

    Raises:
        UserError: what `gather` raises; or it is more than Ray takes, or cannot be read.
    """
    shipment = gather(spec, code)
    # zip knows no year before 1980, which files out of archives and images often have.
    with ZipFile(archive, "w", ZIP_DEFLATED, strict_timestamps=False) as package:
        for name, path in sorted(shipment.files.items()):
            try:
                package.write(path, name)
            except (OSError, UnicodeEncodeError) as error:  # zip knows no names but UTF-8
                raise _unreadable(path, error) from None
            if archive.stat().st_size > LIMIT:
                raise _too_large(shipment.files, code)
        if shipment.spec is not None:
            package.writestr(SPEC_FILE, shipment.spec)
    if archive.stat().st_size > LIMIT:
        raise _too_large(shipment.files, code)
    return shipment


def _unreadable(path: str | Path, error: OSError | UnicodeEncodeError) -> ResourceError:
    reason = error.strerror if isinstance(error, OSError) else "its name is no UTF-8"
    return ResourceError(f"'{one_line(str(path))}' cannot be shipped: {reason}; put that right, or move it away")


def _too_large(files: dict[str, Path], code: Path | None) -> ResourceError:
    largest = max(files, key=lambda name: files[name].stat().st_size)
    total = sum(path.stat().st_size for path in files.values()) / 1024**2
    return ResourceError(
        f"{f'--code {code}' if code else 'the code that the spec names'}: {len(files):,} files with {total:,.0f} MB, "
        f"the largest is '{one_line(largest)}'; packed, Ray takes {LIMIT // 1024**2} MB at most; name a smaller "
        "folder, list what need not be shipped in its .gitignore, and put data where the cluster can read it"
    )


def _where_to(root: Path, link: Path) -> str | None:
    """Why a link is left out, by where it leads to.

    Raises:
        ResourceError: out of the folder, to what nobody decided to ship.
    """
    target, inside = Path(os.path.realpath(link)), Path(os.path.realpath(root))
    if not target.is_relative_to(inside):
        raise ResourceError(
            f"'{one_line(str(link))}' is a link to '{one_line(str(target))}', out of the folder that would be shipped; "
            "put a copy in its place, or list the link in .gitignore"
        )
    if not target.exists():
        return "a link to nothing, or to itself"
    if Path(os.path.realpath(link.parent)).is_relative_to(target):
        return "a link back to a folder that it is in"
    return why_left_out(target.relative_to(inside).parts, folder=target.is_dir())


def _by_content(path: Path) -> str | None:
    """Why a file is left out whose name is no reason."""
    if not stat.S_ISREG(path.stat().st_mode):
        return "no file: a pipe, socket or device"
    return PRIVATE_KEY if holds_private_key(path) else None


def _add_folder(shipment: Shipment, code: Path) -> None:
    """Every file below a folder but those that git ignores, junk, secrets, and the results of sweeps."""
    root = Path(os.path.expanduser(code))
    if not root.is_dir():
        raise ResourceError(f"--code {one_line(str(code))}: there is no such folder")
    if (root / _RESULTS).is_dir():
        shipment.left_out[_RESULTS] = "results of sweeps"
    listed = _listed(root)
    if listed is None:
        _walk(shipment, root, root)
        return
    for path in listed:
        if path.relative_to(root).parts[0] == _RESULTS:
            continue
        if path.is_dir() and not path.is_symlink():
            shipment.left_out[path.relative_to(root).as_posix()] = _REPOSITORY
        elif os.path.lexists(path):
            _walk_or_add(shipment, root, path)


def _listed(root: Path) -> list[Path] | None:
    """What git would add; None where the folder is not under git."""
    listing = ("git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        found = subprocess.run(listing, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [root / os.fsdecode(name) for name in found.split(b"\0") if name]


def _walk(shipment: Shipment, root: Path, folder: Path, *, by_link: bool = False) -> None:
    """Add everything below a folder but virtual environments."""
    for path in sorted(folder.iterdir()):
        name = path.relative_to(root).as_posix()
        if by_link and path.is_symlink() and path.is_dir():
            shipment.left_out[name] = "a link within a link"  # so loops end
        elif name == _RESULTS:
            shipment.left_out[name] = "results of sweeps"
        else:
            _walk_or_add(shipment, root, path, by_link=by_link)


def _walk_or_add(shipment: Shipment, root: Path, path: Path, *, by_link: bool = False) -> None:
    if (path / "pyvenv.cfg").exists():
        shipment.left_out[path.relative_to(root).as_posix()] = "a virtual environment"
        return
    shipment.add(root, path)
    name = path.relative_to(root).as_posix()
    if path.is_dir() and name not in shipment.left_out:
        _walk(shipment, root, path, by_link=by_link or path.is_symlink())


def _add_modules(shipment: Shipment, spec: SweepSpec) -> None:
    """Files of the top-level modules that a spec names; installed ones have to be installed on the cluster too."""
    for where, function in _functions(spec):
        name = function.partition(":")[0].partition(".")[0]
        found = PathFinder.find_spec(name)
        if found is None:
            raise SpecError(
                f"{where} '{function}': there is no module '{name}' here that could be shipped; submit from the folder "
                "that holds it, or ship a folder with --code DIR"
            )
        _add_module(shipment, found)


def _refuse_relative(spec: SweepSpec) -> None:
    """A job starts in a folder of its own, in which nothing is but what was shipped."""
    if not isinstance(spec, ImageSpec):
        return
    weights = spec.model.weights
    paths = {f"{at}.{name}": getattr(data, name) for at, data in _sources(spec).items() for name in data.local_paths}
    if isinstance(weights, str) and weights.endswith(_WEIGHT_FILES):
        paths["model.weights"] = weights
    for where, path in paths.items():
        if path is not None and not Path(path).is_absolute() and not path.startswith("~"):
            raise SpecError(
                f"{where} = '{path}': a job on a cluster does not start where you are; write the path as the cluster "
                "has it, from /, or ship the folder that it is in with --code DIR"
            )


def _sources(spec: ImageSpec) -> dict[str, DataSpec]:
    """The images that a spec names, by the field that names them."""
    weights = spec.model.weights
    return {"data": spec.data} | ({"model.weights.data": weights.data} if isinstance(weights, SourceTask) else {})


def _functions(spec: SweepSpec) -> Iterator[tuple[str, str]]:
    """Fields of a spec that name the user's own code, and what they say."""
    if isinstance(spec, FunctionSpec):
        yield "trial", spec.trial
        if spec.finalise is not None:
            yield "finalise", spec.finalise
    if not isinstance(spec, ImageSpec):
        return
    for at, data in _sources(spec).items():
        yield from ((f"{at}.{name}", getattr(data, name)) for name in data.own_code)
    if ":" in spec.model.name:
        yield "model.name", spec.model.name


def _add_module(shipment: Shipment, module: ModuleSpec) -> None:
    """The files of a package, or the one of a module."""
    places = [Path(path) for path in module.submodule_search_locations or ()] or [Path(module.origin or "")]
    if places[0].is_relative_to(sysconfig.get_path("stdlib")) or _INSTALLED.intersection(places[0].parts):
        return
    for place in places:
        _walk_or_add(shipment, place.parent, place)
