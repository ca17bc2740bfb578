"""The state of one trial, and one step and one epoch of it."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tlsweep.data.batches import Batches, BatchSource
from tlsweep.errors import TlsweepError
from tlsweep.models import frozen_groups, set_frozen
from tlsweep.models.dropping import set_dropping
from tlsweep.models.features import sees_maps
from tlsweep.models.heads import check_logits
from tlsweep.spec import Hyperparameters, TrainSettings, derive_seed
from tlsweep.training.checkpoint import (
    Checkpoint,
    changed_tensors,
    copied,
    dump_checkpoint,
    load_checkpoint,
    restore_network,
)
from tlsweep.training.devices import (
    Compute,
    autocast,
    choose_device,
    lower_precision,
    move_to_device,
    seed_generators,
)
from tlsweep.training.evaluation import evaluate, make_batches
from tlsweep.training.figures import PartFigures, Passage, TrainingFigures, dominant, means
from tlsweep.training.frozen import FeatureSource, Way, on_features, stays_frozen, unfit
from tlsweep.training.metrics import Evaluation
from tlsweep.training.microbatch import ForwardState, MicroBatch
from tlsweep.training.networks import new_network
from tlsweep.training.noise_scale import MIN_BATCH, PARTS, Gradients, NoiseScale
from tlsweep.training.optimization.averaging import Average
from tlsweep.training.optimization.loss_scaling import LossScaling
from tlsweep.training.optimization.losses import make_loss
from tlsweep.training.optimization.optimizers import (
    allocate_state,
    build_optimizer,
    forget_gradients,
    group_memory,
    optimizer_state,
    restore_optimizer,
    set_lr,
    set_training,
)
from tlsweep.training.optimization.trial_schedule import TrialSchedule
from tlsweep.training.reports import ClientReport
from tlsweep.training.timed import Timed
from tlsweep.training.transfer import Transfer


class Trainer:
    """A network, its optimizer, and how far they have come."""

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        settings: TrainSettings,
        transfer: Transfer,
        compute: Compute,
        *,
        beside: "Trainer | None" = None,
        features: FeatureSource | None = None,
    ) -> None:
        """Build the network and its optimizer; images and limits of memory are shared with `beside`, another run.

        `features` has what frozen layers give; None: they compute it in each epoch.
        """
        self.hyperparameters = hyperparameters
        self.settings = settings
        self.task = task = transfer.task
        self.seed = transfer.seed
        self.device = device = choose_device(compute.device)
        self.network = new_network(transfer)
        set_dropping(self.network.module, hyperparameters)
        self.module = self.network.module
        self.channels_last = channels_last = move_to_device(self.module, device, settings.channels_last)
        # On a CPU torch.compile needs a C++ compiler, which workers need not have (torch/_inductor/cpp_builder.py).
        self.forward = torch.compile(self.module) if settings.compile and device.startswith("cuda") else self.module
        self.autocast = autocast(settings, device)
        self.optimizer = build_optimizer(hyperparameters, self.network)
        self.scaling = LossScaling(self.optimizer, device, enabled=lower_precision(settings, device) is torch.float16)
        self.criterion = make_loss(hyperparameters, settings, task, device)
        self.schedule = TrialSchedule(hyperparameters, settings.epochs, task.size("train"))
        self.scheduled_batch_size = hyperparameters.batch_size
        # A limit of a whole batch divides none, not even a last one with a sample more: what is divided has a limit
        # below the batch size, and the report shows it.
        limit = compute.micro_batch
        whole = limit is not None and limit >= min(self.schedule.largest_batch, task.size("train"))
        self.micro_batch = MicroBatch("training", device, None if whole else limit)
        self.inference_batch = MicroBatch("evaluation", device)
        if beside is not None:
            self.micro_batch, self.inference_batch = beside.micro_batch, beside.inference_batch
        self.forward_state = ForwardState(self.module, device)
        self.average = Average(self.module, hyperparameters.ema)
        self.noise = NoiseScale() if settings.noise_scale else None
        shared = beside.batches if beside is not None else None
        self.batches: Batches = make_batches(
            task, device, hyperparameters, channels_last=channels_last, sampler=settings.sampler, beside=shared
        )
        self.goes_through: BatchSource = self.batches
        self._whole = Way(self.batches, self.forward)
        self._on_features: Way | None = None
        self._features, self._run = features, transfer
        self.epoch = self.samples = self.step = 0
        # Random layers that are never trained cannot be had again: another member that takes over has another seed.
        self.untouched = 0 if transfer.weights is None else len(self.network.groups)
        self.frozen: int | None = None  # not in training mode

    def begin_epoch(self) -> None:
        """Decide what the next epoch goes through, and in which batches; `train_epoch` does not."""
        self.scheduled_batch_size = self.schedule.batch_size(self.epoch)
        self._choose_way()

    def _choose_way(self) -> None:
        """Let the next epoch and its validation go through kept features if nothing but the head learns in it."""
        if self._features is None or self.hyperparameters.freeze == "nothing":
            return
        samples, epochs = self.task.size("train"), self.settings.epochs
        # The progress of the last step, which has a sample to go.
        last_step = (self.epoch + 1 - 1 / samples) / epochs
        way = self._whole
        # A member that took over another's checkpoint may have layers that were trained before.
        untouched = self.untouched >= len(self.network.groups) - 1
        if untouched and stays_frozen(self.hyperparameters, self.network, last_step):
            if self._on_features is None:
                self._on_features = self._find_features(self._features)
            way = self._on_features or way
        self.goes_through, self.forward = way.batches, way.forward

    def _find_features(self, source: FeatureSource) -> Way | None:
        """The way through features; where there is none, say why, and do without from now on."""
        try:
            reason = unfit(self.hyperparameters, self.task, self._run)
            if reason is None:
                rows = source.rows(self._run, self.settings, self.device, maps=sees_maps(self.network))
                return self.through(rows)
        except (TlsweepError, OSError) as error:  # the latter of a cache that goes away
            reason = str(error)
        source.tell(f"the frozen layers compute in each epoch: {reason}")
        self._features = None
        return None

    def through(self, rows: npt.NDArray[np.float32] | None) -> Way:
        """The way through features; the arguments and what it raises are those of `on_features`."""
        self.thaw(self.epoch / self.settings.epochs)
        seeded = partial(seed_generators, derive_seed(self.seed, "dropout", self.epoch), self.device)
        self.forward_state.keep()
        try:
            with self.autocast:
                return on_features(
                    self.network,
                    self.batches,
                    rows,
                    device=self.device,
                    channels_last=self.channels_last,
                    seeded=seeded,
                )
        finally:
            self.forward_state.restore()  # what was tried must not count, as in a batch norm before the head

    def train_epoch(self) -> TrainingFigures:
        """One pass over the training split; `epoch`, `samples` and `step` move on."""
        return self.completed([self.go_through([self.epoch], self.seed)])

    def go_through(self, passes: Sequence[int], seed: int, among: Tensor | None = None) -> Passage:
        """Train on images, as many times as `passes` has numbers: together the epoch that is under way.

        Args:
            passes: for each pass the number that its order, its augmentation and its dropout follow from.
            seed: what else they follow from.
            among: indices of the images; None: all of the training split.
        """
        passage = Passage()
        samples = len(passes) * (self.task.size("train") if among is None else len(among))
        for number in passes:
            # Seeded for each pass, dropout does not depend on what ran before.
            seed_generators(derive_seed(seed, "dropout", number), self.device)
            batches = Timed(self.goes_through.train(number, self.scheduled_batch_size, seed, among))
            for images, labels in batches:
                passage.scheduled_lr, figures = self.train_step(images, labels, passage.samples, samples)
                passage.parts += figures
                passage.samples += len(labels)
                passage.steps += 1
            passage.data_seconds += batches.seconds
        return passage

    def completed(self, passages: Sequence[Passage]) -> TrainingFigures:
        """Count what makes an epoch, and be ready for its evaluation."""
        self.epoch += 1
        samples = sum(passage.samples for passage in passages)
        self.samples += samples
        self.step += sum(passage.steps for passage in passages)
        self.leave_training()
        loss, accuracy = means([part for passage in passages for part in passage.parts])
        return TrainingFigures(
            loss=loss,
            accuracy=accuracy,
            scheduled_lr=passages[-1].scheduled_lr,
            data_seconds=sum(passage.data_seconds for passage in passages),
            samples=samples,
        )

    def train_step(
        self, images: Tensor, labels: Tensor, seen: int, samples: int | None = None
    ) -> tuple[float, list[PartFigures]]:
        """Forward, backward and a step of the optimizer. Memory too small for the batch divides it, now and later.

        Args:
            images: shape (N, C, S, S), or what stands for them on this way.
            labels: shape (N,); of mixed images probabilities (N, classes).
            seen: samples of this epoch that came before.
            samples: all of this epoch; None: those of the training split.

        Returns:
            The base learning rate with the schedule applied, and the figures of each part of the batch.

        Raises:
            ResourceError: the memory is too small for one image.
        """
        samples = samples or self.task.size("train")
        # One division of whole numbers, so that epoch k begins at exactly k.
        progress = (self.epoch * samples + seen) / samples
        self.thaw(progress / self.settings.epochs)
        share = len(labels) / samples
        scheduled_lr = self.schedule.lr(progress, share, self.scheduled_batch_size)
        parts = self.step_with(scheduled_lr, images, labels)
        self.average.update(share, self.scaling.stepped)
        return scheduled_lr, parts

    def step_with(self, lr: float, images: Tensor, labels: Tensor) -> list[PartFigures]:
        """Train as `train_step` does, with a base learning rate that no schedule decides on."""
        set_lr(self.optimizer, lr)
        self.forward_state.keep()
        if self.noise is not None and self.noise.due() and len(labels) >= MIN_BATCH:
            self.noise.measured(self._noise_of(images, labels))
        parts = self.micro_batch.run(partial(self._accumulate, labels), images, labels, undo=self._forget)
        self.scaling.unscale()
        self.regularise()
        if self.noise is not None:
            self.noise.step(self.module, len(labels))
        if self.hyperparameters.clip_norm:
            # Frozen parameters have no gradient, and so no part in the norm, which nobody waits for.
            clip_grad_norm_(self.module.parameters(), self.hyperparameters.clip_norm)
        self.scaling.step()
        forget_gradients(self.optimizer)
        return parts

    def regularise(self) -> None:
        """Add to the gradients of a batch what does not come from its images."""

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over these images, each with the weight of its class, and their logits (n, classes)."""
        with self.autocast:
            logits = self.forward(images)
            check_logits(logits, len(labels), self.task.num_classes, "training")
            return self.criterion(logits, labels), logits

    def _accumulate(self, batch: Tensor, images: Tensor, labels: Tensor) -> PartFigures:
        """Add the gradient of these images' share in the mean loss over the batch that has the labels `batch`."""
        loss, logits = self.loss(images, labels)
        weight, whole = self.criterion.weight(labels), self.criterion.weight(batch)
        # A factor that is not reported: the loss stays as it is. Not as the gradient that `backward` takes, for which
        # torch imports sympy.
        scaled = loss if batch is labels else loss * (weight / whole)
        self.scaling.scale(scaled).backward()  # type: ignore[no-untyped-call]
        hits = logits.detach().argmax(1) == dominant(labels)
        return PartFigures(loss.detach(), hits, weight * len(batch) / whole)

    def _forget(self) -> None:
        """Be as before the step: parameters and the optimizer have not changed yet."""
        forget_gradients(self.optimizer)
        self.forward_state.restore()

    def _noise_of(self, images: Tensor, labels: Tensor) -> float:
        """Measure tr(Σ) from the parts of a batch, which pass through the network again and leave nothing behind."""
        gradients = Gradients(lambda images, labels: self.loss(images, labels)[0], self.module)
        size = math.ceil(len(labels) / PARTS)
        parts = MicroBatch("noise scale", self.device, min(size, self.micro_batch.limit or size))

        def forget() -> None:
            gradients.forget()
            self.forward_state.restore()

        parts.run(gradients.add, images, labels, undo=forget)
        self.forward_state.restore()
        return gradients.estimate()[1]

    def thaw(self, progress: float) -> None:
        """Freeze the layer groups that are frozen at this progress (0 to 1), and train the others."""
        frozen = frozen_groups(self.hyperparameters.freeze, len(self.network.groups), progress)
        if frozen != self.frozen:
            set_frozen(self.network, frozen, batch_norm=self.settings.batch_norm)
            allocate_state(self.optimizer)
            set_training(self.optimizer, True)
            self.average.take_out()
            self.frozen = frozen
        self.untouched = min(self.untouched, frozen)

    def leave_training(self) -> None:
        """Have in the network what is evaluated and kept, until `thaw`."""
        if self.module.training:
            self.module.eval()
        set_training(self.optimizer, False)
        self.average.put_in()
        self.frozen = None

    def evaluate(self, split: str) -> Evaluation:
        """Loss and figures of merit on a split. The schedule sees the first validation after an epoch."""
        way = self.way_evaluated(split)
        with self.autocast:
            evaluation = evaluate(way, self.task, split, self.inference_batch)
        if split == "val":
            self.schedule.observe(self.epoch, evaluation.loss)
        return evaluation

    def way_evaluated(self, split: str) -> Way:
        """The way to the logits of a split, once training is left."""
        self.leave_training()
        # Features are kept of the images that are trained on and validated.
        return Way(self.goes_through, self.forward) if split == "val" else self._whole

    def by_client(self, validation: Evaluation | None) -> tuple[ClientReport, ...]:
        """How the last epoch went for each client of a federation, whose network `validation` is of; without, none."""
        return ()

    def state(self) -> Checkpoint:
        """A copy of the state of this moment, which must be the end of an epoch."""
        tensors = changed_tensors(self.network, self.untouched)
        trained = self.average.trained()
        return copied(
            Checkpoint(
                epoch=self.epoch,
                samples=self.samples,
                step=self.step,
                untouched=self.untouched,
                tensors=tensors,
                trained={name: trained[name] for name in tensors if name in trained},
                optimizer=self.hyperparameters.optimizer,
                optimizer_state=optimizer_state(self.optimizer, self.module),
                optimizer_groups=group_memory(self.optimizer),
                strategy=self.schedule.state(),
                hyperparameters=self.hyperparameters.model_dump(),
                noise=self.noise.state() if self.noise is not None else {},
                scaling=self.scaling.state(),
            )
        )

    def snapshot(self) -> bytes:
        """The checkpoint of this moment, which must be the end of an epoch."""
        return dump_checkpoint(self.state())

    def restore(self, content: bytes) -> None:
        """Go on from a checkpoint, with this trainer's own hyperparameters.

        The optimizer's memory is taken over only from an optimizer of the same kind, the schedule's state only from the
        same schedule.
        """
        self.take_over(load_checkpoint(content))

    def take_over(self, checkpoint: Checkpoint) -> None:
        """Do what `restore` does with a checkpoint that was read."""
        restore_network(self.network, checkpoint)
        self.average.restore(checkpoint.trained)
        if checkpoint.optimizer == self.hyperparameters.optimizer:
            restore_optimizer(self.optimizer, self.module, checkpoint.optimizer_state, checkpoint.optimizer_groups)
        self.scaling.restore(checkpoint.scaling)
        self.schedule.restore(checkpoint.strategy)
        self.epoch, self.samples = checkpoint.epoch, checkpoint.samples
        self.step = checkpoint.step
        self.untouched = checkpoint.untouched
        if self.noise is not None:
            self.noise = NoiseScale(checkpoint.noise)
