"""The Parquet schema, the journal, reading back."""

from tlsweep.store.folder import SweepFolder, create_sweep_folder, find_sweep_folder, list_sweep_folders
from tlsweep.store.journal import Journal, Record, read_journal
from tlsweep.store.lock import FolderLock
from tlsweep.store.results import Results, open_results
from tlsweep.store.state import Checkpoint, Status, SweepState, TrialState, diverged

__all__ = [
    "Checkpoint", "FolderLock", "Journal", "Record", "Results", "Status", "SweepFolder", "SweepState", "TrialState",
    "create_sweep_folder", "diverged", "find_sweep_folder", "list_sweep_folders", "open_results", "read_journal",
]  # fmt: skip
