"""The LightningModule of few-shot learning with auxiliary tasks."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from psst.backbones import Backbone, Encoder, Setup
from psst.backbones.batch_stats import evaluating, renew_statistics
from psst.components import as_component, describe
from psst.episodes import Batch
from psst.fewshot import Head
from psst.images.view import UPRIGHT, View
from psst.pareto.not_finite import NotFiniteError
from psst.randomness import torch_generator
from psst.tasks import MAIN, Encode, MainTask, Task
from psst.training.checkpoint import check_checkpoint
from psst.training.episode_evaluation import EpisodeEvaluation, few_shot_data

_FORMAT = 1  # of checkpoints; raised when an older psst could no longer read what this one writes


class FewShotModule(EpisodeEvaluation):
    """Learns features by a main task and any number of auxiliary tasks on one encoder; it knows none of them.

    `training_step` asks every task for its loss and returns the named losses beside their sum, so it trains
    on the plain sum by itself and on weights found step by step under PSSTCallback. Tasks that read the same
    view share one forward pass (see `psst.tasks.Encode`). All randomness of a step (augmentation, views,
    dropout) is keyed by `seed` and the index of the batch, so two runs that share both see the same.

    Layers are made for the images and classes of the trainer's datamodule, by whose mean and std images are
    normalized. A loaded checkpoint keeps its own. Checkpoints hold descriptions of the components and load
    with ``weights_only=True``; optimizer and scheduler are not part of them and have to be given again to
    train on.

    Logs ``train/<task>_loss`` and ``train/accuracy``; for validation and test see `EpisodeEvaluation`.

    Args:
        backbone: Turns images into features; like all components, a description of one is accepted too.
        main: The task that counts; its head classifies the episodes of evaluation.
        auxiliary: Tasks learned beside it; none for plain training.
        optimizer: Takes the parameters and returns an optimizer; Adam with 1e-3 by default.
        scheduler: Takes the optimizer and returns a scheduler, which advances every step.
        batch_stats: ``main``: forward passes of auxiliary tasks normalize by their own batch but leave
            BatchNorm's running statistics to the main task. ``shared``: all of them update the statistics.
        image_shape: ``(C, H, W)``; None takes it from the trainer's datamodule.
        classes: Names of the training classes; None takes them from the trainer's datamodule.
        seed: Of the run; keys all randomness of training but the initial parameters, which
            ``seed_everything`` decides.
        active: By the name of an auxiliary task, the optimizer step from which it has a loss in training and
            the one from which it has none any more, None for no end; ``{"rotation": (0, 500)}``.

    Attributes:
        encoder: Normalization and backbone.
        working: Names of the auxiliary tasks that have losses; all of them if None.
        scores: Group of classes to its scores, of the last evaluation.

    Raises:
        TypeError: A component is of the wrong kind.
        ValueError: Two tasks share a name, `batch_stats` is neither of the two, or `active` names no
            auxiliary task or no steps.

    Example:
        >>> module = FewShotModule(Conv4(), Episodic(PrototypicalHead()), auxiliary=[Rotation()])
        >>> Trainer(max_steps=100).fit(module, datamodule=Glyphs())
    """

    def __init__(
        self,
        backbone: Backbone,
        main: MainTask,
        auxiliary: list[Task] | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        batch_stats: Literal["main", "shared"] = "main",
        image_shape: tuple[int, int, int] | None = None,
        classes: list[str] | None = None,
        seed: int = 0,
        active: dict[str, tuple[int, int | None]] | None = None,
    ) -> None:
        super().__init__()
        if batch_stats not in ("main", "shared"):
            raise ValueError(f"`batch_stats={batch_stats}` must be `main` or `shared`.")
        self.encoder = Encoder(as_component("backbone", backbone, Backbone))
        self.main = as_component("main", main, MainTask)
        tasks = [as_component("auxiliary", task, Task) for task in auxiliary or []]
        names = [self.main.name, *(task.name for task in tasks)]
        if names[0] != MAIN or len(set(names)) < len(names):
            raise ValueError(
                f"`main` and `auxiliary` make the tasks {names}; the first is called `{MAIN}`, and each "
                "other has a name of its own."
            )
        self.auxiliary = nn.ModuleDict({task.name: task for task in tasks})
        self.optimizer = optimizer
        self.scheduler = scheduler
        try:
            optimizer([nn.Parameter(torch.zeros(1))])  # what it refuses is refused before the run begins
        except ValueError as error:
            raise ValueError(f"`model.init_args.optimizer`: {error}.") from error
        self.batch_stats = batch_stats
        self.seed = seed
        self.classes: tuple[str, ...] = tuple(classes or ())
        self.active = _checked_spans(active or {}, names)
        self._with_maps = self.main.head.maps or any(task.maps for task in self._tasks())
        self.working: Collection[str] | None = None
        self._stepped = 0  # optimizer steps that the tasks were told of
        if image_shape is None:
            self._save_descriptions()
        else:
            self.build(image_shape)

    @property
    def head(self) -> Head:
        """Classifies episodes: that of the main task."""
        return self.main.head

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """``(C, H, W)`` that the layers were made for; None before."""
        return self.encoder.image_shape

    @property
    def task_names(self) -> list[str]:
        """``main`` and the names of the auxiliary tasks at work, in the order of the losses."""
        return [task.name for task in self._tasks_at_work()]

    def build(self, image_shape: Sequence[int]) -> None:
        """Make all layers for images ``(C, H, W)``; a second call with the same shape changes nothing.

        Raises:
            ValueError: The shape does not suit the backbone, or is not the one it was built for.
        """
        built = self.image_shape is not None
        self.encoder.build(image_shape)
        if not built:
            self.main.build(Setup(self.encoder, self.classes))
            for task in self._tasks()[1:]:
                task.build(self._setup())
            self._save_descriptions()

    def attach(self, datamodule: object) -> None:
        """Make the layers for a datamodule's images and classes and take its mean and std, as `setup` does.

        Where the datamodule says which `features` to cache, they are computed, or found, and centered.

        Args:
            datamodule: After its own `setup`; `psst.datamodules.EpisodicDataModule` or the like.

        Raises:
            TypeError: It lacks something.
            ValueError: A task asks for an augmentation that the datamodule lacks, or that changes nothing.
        """
        data = few_shot_data(datamodule)
        if self.image_shape is None and not self.classes:
            self.classes = tuple(data.train_classes)
        self.build(data.image_shape)
        mean, std = getattr(data, "mean", None), getattr(data, "std", None)
        if mean is not None and std is not None:
            self.encoder.normalize_by(mean, std)
        if getattr(data, "features", None) is not None:
            mean_feature = data.cache_features(self.encoder, self._tasks())
            cast(Any, self.encoder.backbone).center_on(mean_feature)

    def setup(self, stage: str) -> None:
        """Build for the trainer's datamodule; without one, `image_shape` must have been given.

        Raises:
            ValueError: Training classes are not those that the layers were made for, or a task asks for views
                that the datamodule cannot make.
        """
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None or self.image_shape is None:
            self.attach(datamodule)
            if stage == "fit":
                self._check_data()

    def on_fit_start(self) -> None:
        """Let the tasks take what they need of the first weights."""
        for task in self._tasks():
            task.start(self._setup())

    def on_train_start(self) -> None:
        """Count optimizer steps from where a resumed fit stands, which is known here only."""
        self._stepped = self.global_step

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, and the scheduler, which advances every step."""
        optimizer = self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):  # advances when its metric is known
            monitor = getattr(scheduler, "monitor", "val/accuracy")
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of images ``[n, C, H, W]`` (uint8, or float in [0, 1])."""
        return cast(Tensor, self.encoder(images))

    def embed(self, images: Tensor) -> Tensor:
        """Return features as `forward` does, in evaluation mode and without gradients."""
        with evaluating(self.encoder), torch.no_grad():
            return cast(Tensor, self(images))

    def task_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each task at work on a batch, in the current mode, main first.

        A task that finds nothing for it in the batch is left out; `active` plays no part.
        """
        return dict(self._losses(batch, self.encode(batch), self._tasks_at_work()))

    def embed_and_judge(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the head reads of each upright image, ``[n, ...]``, and the auxiliary losses."""
        encode = self.encode(batch)
        features = encode(batch, View(UPRIGHT), maps=self.head.maps)
        return features, dict(self._losses(batch, encode, self._tasks_at_work()[1:]))

    def encode(self, batch: Batch) -> Encode:
        """Return what gives the tasks the features of a batch."""
        key = (self.seed, batch.policies.split, batch.index)
        return Encode(self.encoder, key, self._with_maps, self.batch_stats == "shared")

    def renew_batch_statistics(self, batches: Iterable[Batch]) -> None:
        """Replace BatchNorm's running statistics by their average over what main sees of some batches."""
        images = (self.encoder.normalized((batch.labeled or batch).images()) for batch in batches)
        renew_statistics(self.encoder.backbone, images)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Return the sum of the losses as ``loss`` and each by its name as ``losses``.

        Raises:
            TypeError: The batch is no `psst.episodes.Batch`.
            NotFiniteError: A loss is NaN or infinite.
        """
        if not isinstance(batch, Batch):
            raise TypeError(
                f"FewShotModule trains on batches of psst.episodes.Batch, found {type(batch).__name__}; "
                "the data modules of psst give them."
            )
        losses = dict(self._losses(batch, self.encode(batch), self._tasks_of_step()))
        _check_finite(losses, self.global_step)
        if self._logs_now():
            logged = {f"train/{name}_loss": loss.detach() for name, loss in losses.items()}
            if self.main.accuracy is not None:
                logged["train/accuracy"] = self.main.accuracy
            self.log_dict(logged, batch_size=len(batch))
        return {"loss": sum(losses.values()), "losses": losses}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the tasks follow an optimizer step; with accumulated gradients not every batch ends in one."""
        if self.global_step > self._stepped:
            self._stepped, setup = self.global_step, self._setup()
            for task in self._tasks():
                task.after_step(setup)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return features ``[n, D]`` of the batch's images."""
        with evaluating(self.encoder), torch.no_grad():
            return self.encode(batch)(batch, View(UPRIGHT))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the format."""
        checkpoint["psst_format"] = _FORMAT

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, naming both.

        Raises:
            ValueError: It does not fit.
        """
        path = None if self._trainer is None else self._trainer.ckpt_path
        if self.strict_loading:
            check_checkpoint(checkpoint, self.state_dict(), self.hparams, _FORMAT, str(path or ""))

    def _logs_now(self) -> bool:
        """Whether what is logged in this step is kept: throwing it away takes Lightning a millisecond."""
        trainer = self._trainer
        if trainer is None:  # a step may be taken without one
            return False
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning's connector sets it
        last = trainer.is_last_batch or self.global_step + 1 == trainer.max_steps
        return last or (every > 0 and (self.global_step + 1) % every == 0)

    def _losses(self, batch: Batch, encode: Encode, tasks: Iterable[Task]) -> Iterator[tuple[str, Tensor]]:
        for task in tasks:
            encode.begin(task.name)
            draws = torch_generator("cpu", self.seed, task.name, batch.policies.split, batch.index)
            loss = task.loss(batch, encode, draws)
            if loss is not None:
                yield task.name, loss

    def _tasks(self) -> list[Task]:
        return [self.main, *(cast(Task, task) for task in self.auxiliary.values())]

    def _tasks_at_work(self) -> list[Task]:
        tasks = self._tasks()
        return tasks if self.working is None else [t for t in tasks if t.name in (MAIN, *self.working)]

    def _tasks_of_step(self) -> list[Task]:
        spans = ((task, *self.active.get(task.name, (0, None))) for task in self._tasks_at_work())
        step = self.global_step
        return [task for task, first, end in spans if first <= step and (end is None or step < end)]

    def _setup(self) -> Setup:
        return Setup(self.encoder, self.classes, self.main)

    def _check_data(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning's connector sets it
        by_class = [task.name for task in self._tasks() if task.by_class]
        if by_class and self.classes != tuple(data.train_classes):
            raise ValueError(
                f"`{by_class[0]}` was made for {len(self.classes)} training classes, {type(data).__name__} "
                f"has {len(data.train_classes)} or others; train on those that the model was made for."
            )
        policies = data.policies("train")
        for task in self._tasks():
            crops = [view for view in task.views() if view.crop > 0]
            if len({policies.resolved(view) for view in crops}) < len(crops):
                raise ValueError(
                    f"`{task.name}` compares {len(crops)} crops of an image, and the policy "
                    f"`{crops[0].policy}` changes nothing; name an augmentation under "
                    f"`data.init_args.augmentations.{crops[0].policy}`."
                )

    def _save_descriptions(self) -> None:
        self.save_hyperparameters(
            {
                "backbone": describe(self.encoder.backbone),
                "main": describe(self.main),
                "auxiliary": [describe(task) for task in self._tasks()[1:]],
                "batch_stats": self.batch_stats,
                "image_shape": None if self.image_shape is None else list(self.image_shape),
                "classes": list(self.classes),
                "seed": self.seed,
                "active": {name: list(span) for name, span in self.active.items()},
            }
        )


def _checked_spans(
    active: Mapping[str, Sequence[int | None]], names: Sequence[str]
) -> dict[str, tuple[int, int | None]]:
    spans: dict[str, tuple[int, int | None]] = {}
    for name, span in active.items():
        if name not in names[1:]:
            raise ValueError(
                f"`active` must name auxiliary tasks, of which there are {list(names[1:])}, found `{name}`; "
                "the main task is always active."
            )
        first, end = span if len(span) == 2 else (None, None)
        if first is None or first < 0 or (end is not None and end <= first):
            raise ValueError(
                f"`active: {{{name}: {list(span)}}}` must be the first step, at least 0, and a later one "
                "that ends it, or null for no end."
            )
        spans[name] = (first, end)
    return spans


def _check_finite(losses: Mapping[str, Tensor], step: int) -> None:
    values = torch.stack([loss.detach().float() for loss in losses.values()])  # fetched at once
    for name, value in zip(losses, values.tolist(), strict=True):
        if not math.isfinite(value):
            raise NotFiniteError(
                f"the loss of task `{name}` is {value} at step {step} (of {', '.join(losses)}); "
                "lower the learning rate, or look at the images of this step."
            )
