"""Keeps what a sweep reports: the journal, the Parquet tables, and reading both back."""

from tlsweep.store.descent import Descent
from tlsweep.store.folder import SweepFolder, create_sweep_folder, find_sweep_folder, list_sweep_folders
from tlsweep.store.journal import Journal, Record, open_journal, read_journal
from tlsweep.store.lease import Lease
from tlsweep.store.locations import Location, to_location
from tlsweep.store.lock import FolderLock, lock_folder
from tlsweep.store.objects import ObjectPath, ObjectStoreError
from tlsweep.store.results import Results, open_results
from tlsweep.store.state import Status, StoredCheckpoint, SweepState, TrialState, diverged

__all__ = [
    "Descent",
    "FolderLock",
    "Journal",
    "Lease",
    "Location",
    "ObjectPath",
    "ObjectStoreError",
    "Record",
    "Results",
    "Status",
    "StoredCheckpoint",
    "SweepFolder",
    "SweepState",
    "TrialState",
    "create_sweep_folder",
    "diverged",
    "find_sweep_folder",
    "list_sweep_folders",
    "lock_folder",
    "open_journal",
    "open_results",
    "read_journal",
    "to_location",
]  # fmt: skip
