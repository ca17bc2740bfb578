"""The `train:` section: how one trial is trained.

`Hyperparameters` holds plain values, the ones in force in a trial. In a spec each of them may also be a distribution;
`TrainSpec`, the section itself, is derived from it so that nothing is written twice.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from tlsweep.spec.base import AUTO, SpecModel, Unit, searchable
from tlsweep.spec.class_weights import ClassWeights
from tlsweep.spec.federation import Federated
from tlsweep.spec.optimizers import OPTIMIZERS, OptimizerName, describe_optimizers
from tlsweep.spec.search.per_batch_size import UNSCALED, PerBatchSize, Scaling
from tlsweep.spec.search.space import Distribution, Value


class OptimizerDefaults(SpecModel):
    """Fields that are not written follow the optimizer, where that is a constant."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_optimizer(cls, values: Any) -> Any:
        optimizer = values.get("optimizer") if isinstance(values, Mapping) else None
        if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
            return values
        return {**OPTIMIZERS[optimizer].defaults, **values}


class Hyperparameters(OptimizerDefaults):
    """What can be searched: one value each."""

    lr: float = Field(1e-3, gt=0)
    """Base learning rate of the backbone; the schedule multiplies it. With `prodigy` a factor on the rate that it finds
    itself, 1 unless written. `{per: batch_size, power: 0.5, loguniform: [1e-4, 1e-2]}` searches the lr of batches of 32
    (another with `at: 64`), and each trial has it times (batch_size / 32) ** power: 0.5 suits Adam, 1 SGD."""
    batch_size: int = Field(32, ge=1)
    """Effective batch size: samples for each step of the optimizer; what `decay_by: batch_size` starts from."""
    optimizer: OptimizerName = Field("sgd", description=describe_optimizers())
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD's momentum; the beta1 of the others. Schedule-free: how far gradients are taken towards the average."""
    nesterov: bool = False
    """Nesterov's form of momentum (SGD only)."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (SGD, Adam) or decoupled decay (AdamW, Prodigy)."""
    clip_norm: float = Field(0.0, ge=0)
    """The largest norm that the gradient of a batch may have; a longer one is shortened to it. 0: any."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay, for each epoch, of a moving average of the weights, which is evaluated and exported in their place: 0.9
    keeps nine tenths of what was averaged before an epoch, whatever the batch size. 0: no average."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Rate of all dropout layers of the network; null: as the network has them."""
    drop_path: float | None = Field(None, ge=0, lt=1)
    """Stochastic depth: how often the deepest residual branch is left out; earlier ones in proportion to the network's
    own rates, or to their depth. null: as the network has it."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Part of each target that is spread over all classes (training only)."""
    focal_gamma: float = Field(2.0, ge=0)
    """How much less the focal loss heeds images that are classified well: by (1 - p) ** this; 0 is cross entropy."""
    lr_schedule: Literal[
        "constant", "exponential", "step", "cosine", "wsd", "one_cycle", "plateau", "adjusted", "dynamic"
    ] = "cosine"
    """`constant`; `exponential`: lr × lr_gamma after each epoch; `step`: lr × lr_gamma after every lr_step_epochs;
    `cosine`: down to 0 at the last epoch; `wsd` (warm-up, stable, decay): constant, then down to 0 in the last
    lr_cooldown of the training, so that it is the same at a rung however long the training is; `one_cycle`: up from lr
    / lr_div_factor to lr, then down to almost 0 (Smith & Topin 2018); `plateau`: lr × lr_gamma when the validation loss
    has stopped falling; `adjusted`: × lr_gamma after an epoch of good validation, × lr_raise where it stays worse than
    its moving mean; `dynamic`: a decay that changes with progress, and the raise of `adjusted`. All follow progress in
    samples, not steps."""
    lr_gamma: float = Field(0.95, gt=0, le=1)
    """Factor by which a schedule lowers lr (`exponential`, `step`, `plateau`, `adjusted`; `dynamic` at its start)."""
    lr_final_gamma: float = Field(0.8, gt=0, le=1)
    """What lr_gamma has become by the last epoch (`dynamic`)."""
    lr_step_epochs: float = Field(10.0, gt=0)
    """Epochs between two drops of the schedule `step`."""
    lr_cooldown: float = Field(0.2, gt=0, le=1)
    """Part of the training after the warm-up in which lr falls to 0 (`wsd`)."""
    lr_cooldown_shape: Literal["linear", "sqrt"] = "sqrt"
    """`linear`; `sqrt`: × 1 - √ of the part that is over, which falls fast at first (Hägele et al. 2024) (`wsd`)."""
    lr_pct_start: float = Field(0.3, gt=0, lt=1)
    """Part of the training in which lr rises (`one_cycle`)."""
    lr_div_factor: float = Field(25.0, ge=1)
    """lr over the lr where the rise begins (`one_cycle`)."""
    lr_final_div_factor: float = Field(1e4, ge=1)
    """The lr where the rise begins over the lr where the descent ends (`one_cycle`)."""
    lr_patience: int = Field(2, ge=0)
    """How many epochs in a row may be worse; the next one changes lr (`plateau`, `adjusted`, `dynamic`)."""
    lr_threshold: float = Field(1e-4, ge=0, lt=1)
    """Relative change of the validation loss that counts: as better (`plateau`), as worse (`adjusted`, `dynamic`)."""
    lr_raise: float = Field(1.5, gt=1)
    """Factor by which lr is raised where validation stays worse (`adjusted`, `dynamic`)."""
    lr_min_factor: float = Field(0.01, gt=0, le=1)
    """The least factor on the base lr (`plateau`, `adjusted`, `dynamic`)."""
    lr_max_factor: float = Field(4.0, ge=1)
    """The largest factor on the base lr (`adjusted`, `dynamic`)."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs over which lr rises linearly from 0 before the schedule takes over."""
    decay_by: Literal["lr", "batch_size"] = "lr"
    """`batch_size`: where the schedule would lower lr, the batch grows instead, by powers of two, at the beginning of
    an epoch (Smith et al. 2018). lr takes the rest, so that lr over batch size is always that of the plain schedule."""
    batch_size_limit: int = Field(1024, ge=1)
    """What `decay_by: batch_size` grows the batch to at most; the training split's size is another limit."""
    freeze: Literal["nothing", "backbone", "gradual"] = "nothing"
    """`nothing`: train the whole network. `backbone`: train the new head only. `gradual`: start with the head, thaw one
    layer group after another, from the head down, all by half of the training (Howard & Ruder 2018). While the head
    learns alone, what the layers before it give is computed once for all trials and kept in the cache, unless training
    images change at random (`data.augment`), the weights are random or the network is your own code: `tlsweep check`
    says so."""
    head_lr_multiplier: float = Field(1.0, gt=0)
    """The new head learns with lr times this: 1 is right where it begins with the probe's solution, about 10 where it
    has all to learn (`head: zero`, `random`)."""
    layer_decay: Annotated[float, Unit("number or 'auto'")] = Field(1.0, gt=0, le=1)
    """Each layer group learns with this times the lr of the group above it. `auto`: 0.75 for transformers that begin
    with weights (He et al. 2022), 1 for other networks, random weights, and optimizers that find one lr for all layers.
    """
    auto_augment: Literal["none", "trivial", "rand"] = "none"
    """`trivial`: each training image is changed in one of 14 ways, by any strength (TrivialAugment, wide; Müller &
    Hutter 2021); `rand`: in rand_augment_ops of them one after another, by rand_augment_magnitude (RandAugment; Cubuk
    et al. 2020)."""
    rand_augment_ops: int = Field(2, ge=1, le=14)
    """How many ways of changing it follow one another on an image (`auto_augment: rand`)."""
    rand_augment_magnitude: float = Field(9.0, ge=0, le=30)
    """How strongly, of 30 (`auto_augment: rand`)."""
    color_jitter: float = Field(0.0, ge=0, le=1)
    """Brightness, contrast and saturation of each training image change by factors from 1 - this to 1 + this."""
    vertical_flip: float = Field(0.0, ge=0, le=1)
    """Part of the training images that is turned upside down. Right where there is no above, as in microscopy."""
    rotation: float = Field(0.0, ge=0, le=180)
    """Degrees by which training images are turned at most, to either side."""
    random_erasing: float = Field(0.0, ge=0, le=1)
    """Part of the training images of which a rectangle, 2-33 % of the area, is blotted out (Zhong et al. 2020)."""
    mixup: float = Field(0.0, ge=0, le=100)
    """Above 0, each training image is mixed with the next one of the epoch, and so are their labels; the share of the
    smaller part is drawn from Beta(mixup, mixup) (Zhang et al. 2018; 0.1-0.4 is usual). Training accuracy is then
    that on the label with the larger share."""
    cutmix: float = Field(0.0, ge=0, le=100)
    """Above 0, a rectangle of the next training image of the epoch is pasted in, and labels are mixed by area; the
    area is drawn from Beta(cutmix, cutmix) (Yun et al. 2019; 1 is usual). With mixup too, half of the images get one,
    half the other."""
    server_optimizer: Literal["sgd", "adam", "yogi"] = "sgd"
    """What the server of a federation (`federated`) makes of a round. `sgd`: the mean of the clients' networks (FedAvg,
    McMahan et al. 2017; with server_momentum FedAvgM, Hsu et al. 2019); `adam`, `yogi`: FedAdam and FedYogi (Reddi et
    al. 2021, algorithm 2: without bias correction; betas 0.9 and 0.99, tau 0.001)."""
    server_lr: float = Field(1.0, gt=0)
    """How far the server goes: with `sgd` 1 is to the mean of the clients' networks; `adam` and `yogi` take less, 0.01
    or so."""
    server_momentum: float = Field(0.0, ge=0, lt=1)
    """Part of the server's last step that is taken again (`server_optimizer: sgd`)."""
    proximal: float = Field(0.0, ge=0)
    """FedProx (Li et al. 2020): half of this times the squared distance from the network that a round began with is
    added to the loss of each client, so that none goes far. `train_loss` is without it."""

    @model_validator(mode="after")
    def _optimizer_can_do_it(self) -> "Hyperparameters":
        _check_optimizer(lambda name: (getattr(self, name),))
        return self


class TrainSettings(SpecModel):
    """What is the same for all trials of a sweep."""

    epochs: int = Field(10, ge=1)
    """Passes over the training split that a trial gets at most."""
    head: Literal["auto", "probe", "zero", "random"] = "auto"
    """What the new head begins with. `probe`: the logistic regression on the features of `model.weights`, solved once,
    at whose accuracy all trials then begin (Kumar et al. 2022); `zero`: all classes equally likely; `random`: torch's
    initialisation. `auto`, and trials with random weights where `probe` is written: `probe` with weights, `random`
    without."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """What training minimises. `focal`: heeds images less the better they are classified (Lin et al. 2017). Validation
    reports plain cross entropy in any case."""
    class_weights: ClassWeights = "none"
    """How much images count in training, by their class. `balanced`: inversely to how many the class has, n / (classes
    × its images). Or `{bees: 2}`: those that are not named weigh 1."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """What an epoch consists of. `shuffle`: each training image once. `balanced`: as many, but of each class equally
    many: images of rare classes come several times, others not in every epoch."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`bf16`: autocast; `fp16`: autocast with loss scaling, on GPUs only; `auto`: bf16 on GPUs that have it, fp16 on
    those that have tensor cores but no bf16 (V100, T4), else fp32."""
    channels_last: bool | Literal["auto"] = "auto"
    """Memory format of images and convolutions; `auto`: on for networks with convolutions, on CUDA and CPUs."""
    pack: Literal["auto", "off"] | Annotated[int, Field(ge=1)] = "auto"
    """How many trials a place trains together, whose batches are too small to keep it busy: heads on kept features and
    small networks of plain layers. Their numbers do not depend on who trains beside them. `auto`: up to 32 on a CPU,
    where it pays, and none on a GPU; a number: so many, at any size of batch."""
    batch_norm: Literal["train", "frozen"] = "train"
    """`frozen`: batch norm keeps the statistics of the weights that the trial starts from. Then a batch that memory
    divides gives the same gradient as a whole one, but for dropout; with `train`, each part is normalised by itself."""
    compile: bool = False
    """torch.compile the network (GPU only; pays off in trials of many minutes)."""
    federated: Federated | None = None
    """Train as a federation would: images are divided among clients, an epoch is a round in which clients train one
    after another, each with an optimizer of its own that begins anew, and a server averages what they made. `lr`,
    `batch_size` and all that is about training are then the clients'. A simulation to choose hyperparameters: nothing
    is sent, and nothing is private. null: one network sees all images."""
    noise_scale: bool = False
    """Report the gradient noise scale (McCandlish et al. 2018): the batch size far above which a larger batch saves no
    steps. Measured where batches have at least 4 images. Costs 5-10 % of the training of a tiny network on a CPU, which
    is then not trained with others (`pack`), and changes no other number but for that."""

    @model_validator(mode="after")
    def _noise_is_measured_unscaled(self) -> "TrainSettings":
        if self.noise_scale and self.precision == "fp16":
            raise ValueError(
                "noise_scale: true measures gradients that precision: fp16 would lose; write precision: bf16, fp32 or "
                "auto, or noise_scale: false"
            )
        return self


class TrainSection(TrainSettings, OptimizerDefaults):
    """What the `train:` section can do; its fields are those of TrainSettings and Hyperparameters."""

    def settings(self) -> TrainSettings:
        """The part that is no hyperparameter."""
        return TrainSettings(**{name: getattr(self, name) for name in TrainSettings.model_fields})

    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched; of an lr per batch size, that at the reference."""
        searched = {name: value for name, value in self if hasattr(value, "to_yaml")}
        per = self.scaling.per
        return searched | ({"lr": per.at_reference} if per else {})

    @property
    def scaling(self) -> Scaling:
        """How what is drawn becomes what is in force."""
        lr, batch_size = (getattr(self, name) for name in ("lr", "batch_size"))
        if not isinstance(lr, PerBatchSize):
            return UNSCALED
        return Scaling(lr, batch_size if isinstance(batch_size, int) else lr.at)

    def resolve(self, values: dict[str, Value], *, layer_decay: float = 1.0) -> Hyperparameters:
        """The hyperparameters of a trial: constants of the spec, `values` for what is searched, and what `auto` is."""
        constants = {name: getattr(self, name) for name in Hyperparameters.model_fields}
        if self.layer_decay_is_open:
            constants["layer_decay"] = layer_decay
        return Hyperparameters(**constants | values)

    @property
    def layer_decay_is_open(self) -> bool:
        """Whether the network decides on it."""
        return bool(dict(self)["layer_decay"] == AUTO)

    @property
    def finds_lr(self) -> bool:
        """Whether some trials have an optimizer that finds one learning rate for all layers."""
        return any(OPTIMIZERS[str(name)].finds_lr for name in self._extremes("optimizer"))

    @model_validator(mode="after")
    def _fit_in_every_trial(self) -> "TrainSection":
        if True in self._extremes("nesterov") and 0 in self._extremes("momentum"):
            raise ValueError("nesterov: true needs momentum above 0, in every trial")
        _check_optimizer(self._extremes)
        return self

    def _extremes(self, name: str) -> tuple[Value, ...]:
        """The extremes of a distribution; of a constant, its value."""
        value = getattr(self, name)
        return value.extremes if hasattr(value, "extremes") else (value,)


def _check_optimizer(values: Callable[[str], tuple[Value, ...]]) -> None:
    """Refuse what an optimizer cannot do; `values` gives those that a hyperparameter can have."""
    names = [str(name) for name in values("optimizer")]
    if 0 in values("momentum"):
        for name in names:
            if OPTIMIZERS[name].needs_momentum:
                raise ValueError(f"optimizer: {name} needs momentum above 0, in every trial; 0.9 is usual")
    for name in names:
        if OPTIMIZERS[name].averages and values("ema") != (0,):
            raise ValueError(
                f"optimizer: {name} averages the weights itself, and ema would average its averages; write ema: 0, or "
                "take another optimizer"
            )
    scaled = [name for name in ("head_lr_multiplier", "layer_decay") if values(name) not in ((1,), (AUTO,))]
    for name in names:
        if OPTIMIZERS[name].finds_lr and scaled:
            raise ValueError(
                f"optimizer: {name} finds one learning rate for all layers, and {scaled[0]} asks for several; write "
                f"{scaled[0]}: 1, or take another optimizer"
            )


if TYPE_CHECKING:
    # A type checker cannot see the fields of a model that is made while the program runs.
    TrainSpec = TrainSection
else:
    TrainSpec = searchable(
        Hyperparameters,
        name="TrainSpec",
        base=TrainSection,
        auto=("layer_decay",),
        doc="The `train:` section of a spec: settings, and hyperparameters as constants or distributions.",
    )
