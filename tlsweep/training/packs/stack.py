"""Networks of several trials that take their steps together, each with its own images, learning rate and optimizer."""

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlsweep.models.stacked import StackedLayers, as_leaf, weight_view
from tlsweep.spec import derive_seed
from tlsweep.training.figures import PartFigures, Passage, TrainingFigures
from tlsweep.training.optimization.fused_steps import FusedStep
from tlsweep.training.optimization.optimizers import set_lr
from tlsweep.training.trainer import Trainer


class Stack:
    """Trainers that do their epochs together.

    What learns lies behind one another, and each network's parameters are views of its part: so all else of a trainer,
    its evaluation, its checkpoints and its average, works as if it were alone.

    Args:
        trainers: at the end of an epoch, with equal keys (`Stackable.key`).
        layers: of the first, and so of all.
    """

    def __init__(self, trainers: Sequence[Trainer], layers: StackedLayers, names: Sequence[str]) -> None:
        self.trainers = tuple(trainers)
        self._layers, self._names = layers, tuple(names)
        self._leaves: dict[str, Tensor] = {}
        self._gradients: list[Tensor] = []
        self._steps: list[FusedStep] = []
        self._counters: list[Tensor] = []

    @torch.no_grad()
    def _gather(self) -> None:
        """Put the parameters behind one another."""
        modules = [dict(trainer.module.named_parameters()) for trainer in self.trainers]
        for name in self._names:
            own = [parameters[name] for parameters in modules]
            leaf = torch.stack([as_leaf(parameter.detach()) for parameter in own]).contiguous()
            self._leaves[name] = leaf.requires_grad_()
            leaf.grad = torch.zeros_like(leaf)
            for parameter, part in zip(own, leaf.detach(), strict=True):
                parameter.data = weight_view(part)
        self._gradients = [leaf.grad for leaf in self._leaves.values() if leaf.grad is not None]
        self._steps = [
            FusedStep(
                trainer.optimizer,
                {
                    parameters[name]: weight_view(gradient[number])
                    for name, gradient in zip(self._names, self._gradients, strict=True)
                },
            )
            for number, (trainer, parameters) in enumerate(zip(self.trainers, modules, strict=True))
        ]
        self._counters = [counter for step in self._steps for counter in step.counters]

    def train_epoch(self) -> list[TrainingFigures]:
        """One pass of each over its training split, as `Trainer.train_epoch` makes."""
        if self._leaves:
            # In which mode their modules are does not matter here.
            for trainer in self.trainers:
                trainer.average.take_out()
        else:
            for trainer in self.trainers:
                trainer.thaw(trainer.epoch / trainer.settings.epochs)
            self._gather()
        first = self.trainers[0]
        masks = _Masks(self.trainers)
        passages = [Passage() for _ in self.trainers]
        losses: list[Tensor] = []
        hits: list[Tensor] = []
        waiting = 0.0
        began = time.perf_counter()
        for images, labels in self._batches():
            waiting += time.perf_counter() - began
            loss, hit = self._step(images, labels, masks, passages)
            losses.append(loss * labels.shape[1])
            hits.append(hit)
            began = time.perf_counter()
        of_each, right = torch.stack(losses, 1).cpu().double(), torch.cat(hits, 1)
        samples = first.task.size("train")
        for number, passage in enumerate(passages):
            # One by one: together they would be added up in another order than alone.
            passage.parts = [PartFigures(of_each[number].sum() / samples, right[number], samples)]
            passage.data_seconds = waiting / len(passages)
        return [trainer.completed([passage]) for trainer, passage in zip(self.trainers, passages, strict=True)]

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (K, B, …) and labels (K, B)."""
        each = [
            trainer.goes_through.train(trainer.epoch, trainer.scheduled_batch_size, trainer.seed)
            for trainer in self.trainers
        ]
        for parts in zip(*each, strict=True):
            images = [part[0].permute(0, 2, 3, 1) if self._layers.maps else part[0] for part in parts]
            yield torch.stack(images), torch.stack([part[1] for part in parts])

    def _step(
        self, images: Tensor, labels: Tensor, masks: "_Masks", passages: Sequence[Passage]
    ) -> tuple[Tensor, Tensor]:
        """A step of each; the losses (K,) of their batches, and which predictions are right (K, B)."""
        torch._foreach_zero_(self._gradients)
        logits = self._layers(self._leaves, images, masks)
        smoothing = self.trainers[0].criterion.label_smoothing
        each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing, reduction="none")
        losses = each.view(labels.shape).mean(1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self._clip()
        if self._counters:
            torch._foreach_add_(self._counters, 1)
        samples, seen = self.trainers[0].task.size("train"), passages[0].samples
        share = labels.shape[1] / samples
        for trainer, step, passage in zip(self.trainers, self._steps, passages, strict=True):
            progress = (trainer.epoch * samples + seen) / samples
            passage.scheduled_lr = trainer.schedule.lr(progress, share, trainer.scheduled_batch_size)
            set_lr(trainer.optimizer, passage.scheduled_lr)
            step()
            trainer.average.update(share)
            passage.samples += labels.shape[1]
            passage.steps += 1
        return losses.detach(), logits.detach().argmax(2) == labels

    def _clip(self) -> None:
        """Shorten the gradient of those that have a limit, as `torch.nn.utils.clip_grad_norm_` does."""
        limits = [trainer.hyperparameters.clip_norm for trainer in self.trainers]
        if not any(limits):
            return
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in self._gradients], 1).norm(dim=1)
        most = torch.tensor(limits, dtype=norms.dtype, device=norms.device)
        factors = torch.where(most > 0, (most / (norms + 1e-6)).clamp(max=1.0), 1.0)
        for gradient in self._gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))


class _Masks:
    """What dropout draws in an epoch, for each of several trainers the numbers that it would draw alone."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self._modules = [trainer.module for trainer in trainers]
        self._generators = [
            torch.Generator(trainer.device).manual_seed(derive_seed(trainer.seed, "dropout", trainer.epoch))
            for trainer in trainers
        ]
        self._rates: dict[str, list[float]] = {}

    def __call__(self, name: str, values: Tensor) -> Tensor | None:
        """What the dropout of this name multiplies `values` (K, B, D) with; None where nothing is dropped."""
        if name not in self._rates:
            layers = [module.get_submodule(name) for module in self._modules]
            self._rates[name] = [layer.p for layer in layers if isinstance(layer, nn.Dropout)]
        rates = self._rates[name]
        if not any(rates):
            return None
        masks = torch.ones_like(values)
        for mask, rate, generator in zip(masks, rates, self._generators, strict=True):
            if rate:
                mask.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
        return masks
