"""Making files of a sweep again that were lost or damaged: from its journal, without training anything."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from tlsweep.errors import ResultsError, SpecError
from tlsweep.report.arms import evaluated
from tlsweep.report.recipe import missing_recipe, write_recipe
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM, FunctionSpec, SweepSpec, dump_spec, load_spec
from tlsweep.spec.loading import StoredSpec
from tlsweep.store import Record, Results, SweepFolder, SweepState, lock_folder, read_journal
from tlsweep.store.files import write_json, write_text
from tlsweep.store.folder import refuse_without_journal
from tlsweep.store.journal import LAUNCHES, read_events
from tlsweep.store.locations import STATE, Location
from tlsweep.store.results import damaged, read_spec, with_sound_name
from tlsweep.text import one_line

MODEL = ("model.json", "classes.json", "preprocessing.json", "metrics.json", "model.safetensors")
"""Files of `best/`."""
HANDED_OVER = (STATE, "metrics.json")
"""Those of a function of the user's own."""


def repair(folder: SweepFolder, phase: Callable[[str], None] = lambda text: None) -> list[str]:
    """Make again what the journal of a sweep knows: spec, tables, and what it holds of environment and recipe.

    Args:
        folder: The sweep's; nobody may be running it.
        phase: Is told what is being waited for.

    Returns:
        For each file that cannot be made from the journal and is missing or damaged, a line that says what makes it.

    Raises:
        ResultsError: the journal is missing or damaged, or somebody runs the sweep.
    """
    refuse_without_journal(folder)
    with lock_folder(folder, phase):
        if next(read_journal(folder.journal), None) is None:
            raise ResultsError(f"'{folder.journal}' holds nothing, and all else is made from it; put a copy back")
        state = restore(folder)
    lines = [] if Results(folder).environment else ["environment.json: the journal of an earlier version lacks it"]
    if MAIN_ARM in state.test:
        launched = state.launched or {}
        lines += unevaluated(folder, sound_spec(folder, launched), launched)
    return lines


def restore(folder: SweepFolder) -> SweepState:
    """Do the work of `repair` where the sweep's lock is held; what the journal comes to.

    Raises:
        ResultsError: the journal is damaged; nothing was written.
    """
    from tlsweep.store.tables import TableWriter

    launches = read_events(folder.journal, LAUNCHES)
    launched: Mapping[str, Any] = launches[-1]["details"] if launches else {}
    spec = sound_spec(folder, launched)
    tables = TableWriter(folder.path, folder.name, spec)

    def records() -> Iterator[Record]:
        for record in read_journal(folder.journal):
            yield record
            tables.add([record])  # which fits: it has been folded

    state = SweepState(spec.search.metric, spec.search.sign).replay(records(), folder.journal)
    write_text(folder.spec, dump_spec(spec))
    _restore_environment(folder, launched)
    tables.write(state)
    if MAIN_ARM in state.test:
        write_recipe(folder.path, state)
    return state


def sound_spec(folder: SweepFolder, launched: Mapping[str, Any]) -> SweepSpec:
    """The spec as the folder has it; where that is missing or damaged, as the journal has it.

    Args:
        folder: The sweep's.
        launched: Details of the last launch or resume in its journal; empty where there was none.

    Raises:
        ResultsError: neither has it.
    """
    return load_spec(sound_tree(folder, launched))


def sound_tree(folder: SweepFolder, launched: Mapping[str, Any]) -> StoredSpec:
    """The mapping behind `sound_spec`, to which overrides may be applied."""
    stored = launched.get("spec")
    known = with_sound_name(stored) if isinstance(stored, Mapping) else None
    try:
        tree = read_spec(folder)
        load_spec(tree)
    except (ResultsError, SpecError) as error:
        if known is None:
            raise ResultsError(
                f"'{one_line(str(folder.spec))}' is missing or damaged, and the journal does not hold it; put a copy "
                f"of it there ({one_line(shorten(str(error), 200))})"
            ) from None
        return known
    return tree if known is None or _holds(tree, known) else known


def _holds(tree: Any, known: Any) -> bool:
    """Whether a spec has every field that the one in the journal has: one that was cut short may load all the same."""
    if not isinstance(known, Mapping):
        return True
    if not isinstance(tree, Mapping):
        return all(value is None for value in known.values())
    return all(name in tree and _holds(tree[name], value) for name, value in known.items())


def _restore_environment(folder: SweepFolder, launched: Mapping[str, Any]) -> None:
    """What the journal knows of it: since some version all, before that the fingerprints alone."""
    known = launched.get("environment")
    if known is None and launched:
        known = {"data": {"fingerprint": launched.get("data")}, "weights": {"sha256": launched.get("weights")}}
    try:
        if not Results(folder).environment and known:
            write_json(folder.environment, known)
    except ResultsError:  # what is damaged must not stop the others
        write_json(folder.environment, known or {})


def unevaluated(folder: SweepFolder, spec: SweepSpec, launched: Mapping[str, Any]) -> list[str]:
    """What is missing or damaged of that which is made when the winners meet the test split, a line for each.

    Args:
        folder: The folder of a sweep that has ended.
        spec: Its spec.
        launched: Details of the last launch or resume in its journal.
    """
    if isinstance(spec, FunctionSpec):
        return [line] if (line := _missing(folder, HANDED_OVER)) else []
    lines = [line] if (line := missing_model(folder)) else []
    try:
        predictions, _ = Results(folder).predictions, Results(folder).hard_images
    except ResultsError as error:
        return [*lines, str(error)]
    # The version that began to write down the environment wrote predictions too; earlier ones may not have.
    if predictions is None and "environment" in launched:
        lines.append(str(damaged(folder, "predictions.parquet", verb="resume")))
    return lines


def missing_model(folder: SweepFolder) -> str | None:
    """What is wrong with `best/` of a sweep that has ended, in a line; None where nothing is."""
    return _missing(folder, MODEL)


def _missing(folder: SweepFolder, names: Sequence[str]) -> str | None:
    for name in names:
        reason = _unsound(folder.best / name)
        if reason is not None:
            return str(damaged(folder, f"best/{name}", reason or None, "resume"))
    return None


def _unsound(file: Location) -> str | None:
    """Why a file of `best/` does not read back; "" where it is missing."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return ""
    try:
        if file.name.endswith(".json"):
            json.loads(file.read_text(encoding="utf-8"))
        elif file.name == STATE:
            with zipfile.ZipFile(io.BytesIO(file.read_bytes())):  # which begins with what stands at the end
                pass
        elif isinstance(file, Path):
            # Its header, read alone, says how long the file must be: safetensors refuses one that was cut short.
            with safe_open(file, framework="np"):
                pass
    except (OSError, ValueError, RecursionError, SafetensorError, zipfile.BadZipFile) as error:
        return str(error) or type(error).__name__
    return None


def faults(tables: SweepTables) -> dict[str, str]:
    """The missing or damaged files of a sweep that has ended, each with a line that says what makes it again.

    Those without which nothing can be read are not among them: reading them says so.
    """
    launches = [event["details"] for event in tables.events if event["kind"] in ("launched", "resumed")]
    folder = SweepFolder(tables.path)
    if not launches or folder.unused:  # kept without its journal, from which they could be made
        return {}
    found: dict[str, str | None] = (
        {} if tables.environment else {"environment": str(damaged(folder, "environment.json"))}
    )
    if MAIN_ARM in evaluated(tables):
        lines = unevaluated(folder, tables.spec, launches[-1])
        found |= {"recipe": missing_recipe(folder), "model": "; ".join(lines)}
    return {name: line for name, line in found.items() if line}
