"""Builds the network that is fine-tuned: backbone, weights, new head, layer groups, freezing."""

from tlsweep.models.freezing import ParameterGroup, frozen_groups, parameter_groups, set_frozen, train_mode
from tlsweep.models.groups import LayerGroup
from tlsweep.models.network import Network, build_network, validate_model
from tlsweep.models.transformers import usual_layer_decay
from tlsweep.models.weights import Weights, read_weights, resolve_weights

__all__ = [
    "LayerGroup", "Network", "ParameterGroup", "Weights", "build_network", "frozen_groups", "parameter_groups",
    "read_weights", "resolve_weights", "set_frozen", "train_mode", "usual_layer_decay",
    "validate_model",
]  # fmt: skip
