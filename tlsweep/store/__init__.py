"""The Parquet schema, the journal, reading back."""

from tlsweep.store.folder import SweepFolder, create_sweep_folder, find_sweep_folder, list_sweep_folders
from tlsweep.store.journal import Journal, Record, open_journal, read_journal
from tlsweep.store.lease import Lease
from tlsweep.store.lock import FolderLock, lock_folder
from tlsweep.store.objects import ObjectPath, ObjectStoreError
from tlsweep.store.places import Place, to_place
from tlsweep.store.results import Results, open_results
from tlsweep.store.state import Checkpoint, Status, SweepState, TrialState, diverged

__all__ = [
    "Checkpoint", "FolderLock", "Journal", "Lease", "ObjectPath", "ObjectStoreError", "Place", "Record", "Results",
    "Status", "SweepFolder", "SweepState", "TrialState", "create_sweep_folder", "diverged", "find_sweep_folder",
    "list_sweep_folders", "lock_folder", "open_journal", "open_results", "read_journal", "to_place",
]  # fmt: skip
