"""A trainer whose epochs are the rounds of a federation: clients train one after another, a server averages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tlsweep.data.federation import clients_of
from tlsweep.spec import Hyperparameters, TrainSettings, derive_seed
from tlsweep.training.checkpoint import Checkpoint
from tlsweep.training.devices import Compute
from tlsweep.training.federation.server import Mean, Server
from tlsweep.training.figures import Passage, TrainingFigures, means
from tlsweep.training.metrics import Evaluation
from tlsweep.training.optimization.optimizers import forget_state
from tlsweep.training.reports import ClientReport
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer


@dataclass(frozen=True)
class _Trained:
    """What a client made of its part in a round."""

    passage: Passage
    drift: float
    """The distance of its parameters from those that it was given."""


class FederatedTrainer(Trainer):
    """The network of all clients; `hyperparameters` are those of the clients and of the server.

    A single client is no federation: it has the whole training split and keeps its optimizer, so that with
    `server_optimizer: sgd` and `server_lr: 1` it is trained as without a federation, bit for bit, `local_epochs` passes
    a round.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        settings: TrainSettings,
        transfer: Transfer,
        compute: Compute,
        **options: Any,
    ) -> None:
        super().__init__(hyperparameters, settings, transfer, compute, **options)
        assert settings.federated is not None
        self._federated, self._server = settings.federated, Server(hyperparameters)
        self._known = clients_of(self.task)
        own = self._known.train if self._federated.clients > 1 else (self.task.splits["train"],)
        # Copied, as arrays of Ray's object store are read-only, and torch warns of those.
        self._clients = [torch.from_numpy(indices.copy()) for indices in own]
        self._trained: dict[int, _Trained] = {}
        """The clients that took part in the last round."""
        self._given: Mapping[str, Tensor] = {}
        """What the client that trains was given; empty while none does."""

    def train_epoch(self) -> TrainingFigures:
        """A round; `epoch`, `samples` and `step` move on."""
        self.scheduled_batch_size = self.schedule.batch_size(self.epoch)
        given = {name: tensor.detach().clone() for name, tensor in _named(self.module).items()}
        mean, self._trained = Mean(), {}
        for client in self._picked():
            _put(given, self.module)
            self._given = given
            passage = self._train_client(client)
            self._given = {}
            mean.add(_named(self.module), len(self._clients[client]))
            self._trained[client] = _Trained(passage, _distance(dict(self.module.named_parameters()), given))
        self._serve(given, mean)
        return self.completed([trained.passage for trained in self._trained.values()])

    def _picked(self) -> Sequence[int]:
        """The clients that take part in the round."""
        clients, picked = len(self._clients), self._federated.picked
        if picked >= clients:
            return range(clients)
        # Sorted, so that the mean is made in the order of clients, which decides on its last digits.
        draw = torch.Generator().manual_seed(derive_seed(self.seed, "clients", self.epoch))
        return sorted(torch.randperm(clients, generator=draw)[:picked].tolist())

    def _train_client(self, client: int) -> Passage:
        """Train the network on the images of a client, and leave in it what the client gives back."""
        passes = self._federated.local_epochs
        # The first as without a federation, so that a single one sees what a trial without one sees.
        seed = derive_seed(self.seed, "client", client) if client else self.seed
        passage = self.go_through(range(self.epoch * passes, (self.epoch + 1) * passes), seed, self._clients[client])
        # Of an optimizer that averages weights the average; and the next client begins with what is frozen then.
        self.leave_training()
        if len(self._clients) > 1:
            forget_state(self.optimizer)
        return passage

    @torch.no_grad()
    def _serve(self, given: Mapping[str, Tensor], mean: Mean) -> None:
        """Put into the network what the server makes of a round.

        Batch norm's statistics, and buffers like these, are the mean of the clients' whatever the server's optimizer
        is, as what this makes of a variance may be below 0.
        """
        # What is frozen at the end of a round was so all along: it stays as it is, and is in no checkpoint.
        parameters = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        _put({name: given[name] for name in parameters}, self.module)
        self._server.step(parameters, mean.values)
        _put({name: mean.values[name] for name, _ in self.module.named_buffers()}, self.module)

    @torch.no_grad()
    def regularise(self) -> None:
        """Pull the client towards what it was given (Li et al. 2020, the gradient of the proximal term)."""
        if not self.hyperparameters.proximal or not self._given:
            return
        for name, parameter in self.module.named_parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter - self._given[name], alpha=self.hyperparameters.proximal)

    def by_client(self, validation: Evaluation | None) -> tuple[ClientReport, ...]:
        """How the last round went for each client: what it made of it, and how the network of all does there."""
        counts = self._known.val_images.tolist()
        accuracies: list[float | None] = [None] * len(counts)
        if validation is not None:
            accuracies = self._known.accuracies(validation.labels == validation.predictions)
        # A single client that is beside a federation has nothing to say of its clients but how it does there.
        own = self._trained if len(self._clients) == len(counts) else {}
        return tuple(
            ClientReport(
                client=client,
                train_images=len(self._known.train[client]),
                val_images=counts[client],
                **_told(own.get(client)),
                val_accuracy=accuracies[client],
            )
            for client in range(len(counts))
        )

    def state(self) -> Checkpoint:
        memory = self._server.memory.items()
        server = {kind: {name: value.to("cpu", copy=True) for name, value in of.items()} for kind, of in memory}
        return replace(super().state(), server=server)

    def take_over(self, checkpoint: Checkpoint) -> None:
        super().take_over(checkpoint)
        self._server.restore(checkpoint.server, checkpoint.hyperparameters, self.device)


def _named(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a network; tied ones once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@torch.no_grad()
def _put(values: Mapping[str, Tensor], module: nn.Module) -> None:
    here = _named(module)
    for name, value in values.items():
        here[name].copy_(value)


@torch.no_grad()
def _distance(parameters: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> float:
    """The Euclidean distance over all parameters."""
    squares = [(parameter - given[name]).float().square().sum() for name, parameter in parameters.items()]
    return float(torch.stack(squares).sum().sqrt())


def _told(trained: _Trained | None) -> dict[str, Any]:
    """The figures of a client's training; None where it took no part."""
    if trained is None:
        return {"train_loss": None, "train_accuracy": None, "drift": None}
    loss, accuracy = means(trained.passage.parts)
    return {"train_loss": loss, "train_accuracy": accuracy, "drift": trained.drift}
