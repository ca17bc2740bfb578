"""What a job takes along to a cluster: the spec, and the user's own code."""

import re
import subprocess
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from tlsweep.errors import ResourceError, SpecError
from tlsweep.spec import DataSpec, FolderData, PythonData, SourceTask, SweepSpec, dump_spec

SPEC_FILE = "tlsweep-spec.yaml"
LIMIT = 100 * 1024**2
"""Bytes of a package that Ray's dashboard takes (ray_constants.DASHBOARD_CLIENT_MAX_SIZE)."""
_WEIGHT_FILES = (".pth", ".pt", ".safetensors")
_RESULTS = "results"
_JUNK = re.compile(
    r"\.git|\.hg|\.svn|__pycache__|node_modules|\.[a-z]+_cache|\.tox|\.nox|.*\.egg-info|.*\.pyc"
    r"|\.env.*|\.aws|\.ssh|\.ray|\.netrc"  # secrets: what is shipped can be read by others on the cluster
)


def pack(archive: Path, spec: SweepSpec | None, code: Path | None) -> None:
    """Write the working directory of a job as a zip file.

    Args:
        archive: The file to write.
        spec: Becomes SPEC_FILE; None where the sweep that is resumed has its own.
        code: A folder that is taken along as it is; else the modules that the spec names are.

    Raises:
        SpecError: a module that the spec names is not here, or a path would be looked for in the job's folder.
        ResourceError: `code` is no folder, or more than Ray takes.
    """
    if spec is not None and code is None:
        _refuse_relative(spec)
    files = _folder(code) if code is not None else _modules(spec) if spec is not None else {}
    with ZipFile(archive, "w", ZIP_DEFLATED) as package:
        for name, path in sorted(files.items()):
            package.write(path, name)
            if archive.stat().st_size > LIMIT:
                raise _too_large(files, code)
        if spec is not None:
            package.writestr(SPEC_FILE, dump_spec(spec))
    if archive.stat().st_size > LIMIT:
        raise _too_large(files, code)


def _too_large(files: dict[str, Path], code: Path | None) -> ResourceError:
    largest = max(files, key=lambda name: files[name].stat().st_size)
    total = sum(path.stat().st_size for path in files.values()) / 1024**2
    return ResourceError(
        f"{f'--code {code}' if code else 'the code that the spec names'}: {len(files):,} files with {total:,.0f} MB, "
        f"the largest is '{largest}'; packed, Ray takes {LIMIT // 1024**2} MB at most; name a smaller folder, list "
        "what need not be shipped in its .gitignore, and put data where the cluster can read it"
    )


def _folder(code: Path) -> dict[str, Path]:
    """Every file below a folder but those that git ignores, junk, and the results of sweeps."""
    if not code.is_dir():
        raise ResourceError(f"--code {code}: there is no such folder")
    files = {path.relative_to(code): path for path in _tracked(code) if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in files.items()
        if name.parts[0] != _RESULTS and not any(map(_JUNK.fullmatch, name.parts))
    }


def _tracked(code: Path) -> Iterator[Path]:
    """What git would add, where the folder is under git; else everything but virtual environments."""
    listing = ("git", "-C", str(code), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        found = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        yield from _walk(code)
    else:
        yield from (code / name for name in found.split("\0") if name)


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if not path.is_dir():
            yield path
        elif not _JUNK.fullmatch(path.name) and not (path / "pyvenv.cfg").exists():
            yield from _walk(path)


def _modules(spec: SweepSpec) -> dict[str, Path]:
    """Files of the top-level modules that a spec names; installed ones have to be installed on the cluster too."""
    files: dict[str, Path] = {}
    for field, function in _functions(spec):
        name = function.partition(":")[0].partition(".")[0]
        found = PathFinder.find_spec(name)
        if found is None:
            raise SpecError(
                f"{field} '{function}': there is no module '{name}' here that could be shipped; submit from the folder "
                "that holds it, or ship a folder with --code DIR"
            )
        files |= _files(found)
    return files


def _refuse_relative(spec: SweepSpec) -> None:
    """A job starts in a folder of its own, in which nothing is but what was shipped."""
    weights = spec.model.weights
    paths = {f"{at}.path": data.path for at, data in _sources(spec).items() if isinstance(data, FolderData)}
    if isinstance(weights, str) and weights.endswith(_WEIGHT_FILES):
        paths["model.weights"] = weights
    for field, path in paths.items():
        if not Path(path).is_absolute() and not path.startswith("~"):
            raise SpecError(
                f"{field} = '{path}': a job on a cluster does not start where you are; write the path as the cluster "
                "has it, from /, or ship the folder that it is in with --code DIR"
            )


def _sources(spec: SweepSpec) -> dict[str, DataSpec]:
    """The images that a spec names, by the field that names them."""
    weights = spec.model.weights
    return {"data": spec.data} | ({"model.weights.data": weights.data} if isinstance(weights, SourceTask) else {})


def _functions(spec: SweepSpec) -> Iterator[tuple[str, str]]:
    """Fields of a spec that name the user's own code, and what they say."""
    sources = _sources(spec).items()
    yield from ((f"{at}.function", data.function) for at, data in sources if isinstance(data, PythonData))
    if ":" in spec.model.name:
        yield "model.name", spec.model.name


def _files(module: ModuleSpec) -> dict[str, Path]:
    """The files of a package, or the one of a module."""
    places = [Path(one) for one in module.submodule_search_locations or ()]
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platlib", "purelib")}
    origin = places[0] if places else Path(module.origin or "")
    if any(origin.is_relative_to(one) for one in installed):
        return {}
    if not places:
        return {origin.name: origin}
    return {path.relative_to(one.parent).as_posix(): path for one in places for path in _walk(one)}
