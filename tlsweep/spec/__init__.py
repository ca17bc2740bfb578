"""Reads and validates what the user wrote: specs, presets, overrides."""

from tlsweep.spec.class_weights import ClassWeights
from tlsweep.spec.data import (
    Augment,
    DataSpec,
    DigitsData,
    FolderData,
    Normalisation,
    Normalise,
    PythonData,
    TorchvisionData,
)
from tlsweep.spec.function import FunctionSpec
from tlsweep.spec.hyperparameters import Hyperparameters, TrainSettings, TrainSpec
from tlsweep.spec.images import ImageSpec
from tlsweep.spec.limits import Budget, Faults, Resources
from tlsweep.spec.loading import dump_spec, load_spec, presets
from tlsweep.spec.model import ModelSpec, SourceTask
from tlsweep.spec.search.common import Perturbed, PopulationSearch
from tlsweep.spec.search.strategies import (
    AshaSearch,
    AshaThenPbtSearch,
    GridSearch,
    Pb2Search,
    PbtSearch,
    RandomSearch,
    SearchSpec,
)
from tlsweep.spec.search.study import MAIN_ARM, NO_EXPLORE_ARM, SCRATCH_ARM, Arm
from tlsweep.spec.seeds import derive_seed, generator
from tlsweep.spec.sweep import SweepSpec

__all__ = [
    "MAIN_ARM", "NO_EXPLORE_ARM", "SCRATCH_ARM", "Arm", "AshaSearch", "AshaThenPbtSearch", "Augment", "Budget",
    "ClassWeights", "DataSpec", "DigitsData", "Faults", "FolderData", "FunctionSpec", "GridSearch", "Hyperparameters",
    "ImageSpec", "ModelSpec", "Normalisation", "Normalise", "Pb2Search", "PbtSearch", "Perturbed", "PopulationSearch",
    "PythonData", "RandomSearch", "Resources", "SearchSpec", "SourceTask", "SweepSpec", "TorchvisionData",
    "TrainSettings", "TrainSpec", "derive_seed", "dump_spec", "generator", "load_spec", "presets",
]  # fmt: skip
