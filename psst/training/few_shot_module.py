"""The LightningModule of few-shot learning with self-supervised auxiliary tasks."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from psst.backbones import Backbone
from psst.components import as_component, describe
from psst.episodes import Episode
from psst.fewshot import Head
from psst.images.augment import Augmentation
from psst.randomness import stream_key, torch_generator
from psst.selfsupervised import AuxiliaryTask
from psst.training.batch_stats import evaluating, frozen_statistics, renew_statistics
from psst.training.checkpoint import FORMAT, FORMAT_KEY, check_checkpoint
from psst.training.data import few_shot_data
from psst.training.episode_evaluation import EpisodeEvaluation

__all__ = ["FewShotModule"]


class FewShotModule(EpisodeEvaluation):
    """Learns features with a few-shot head as the main task and any number of auxiliary tasks.

    `training_step` returns the named losses beside their sum, so it trains on the plain sum by itself and on
    weights found step by step under PSSTCallback. Each task has its own forward pass of its own views: the
    graphs are disjoint, and the gradients of all tasks cost one backward. Unlabeled images of an episode join
    those that the auxiliary tasks see, and leave the main task as it is. All randomness of a step
    (augmentation, views, dropout) is keyed by `seed` and the index of the episode, so two runs that share
    both see the same batches.

    Layers are made for the images of the trainer's datamodule; so are `mean` and `std` ``[C]``, buffers
    that every image in [0, 1] is normalized by. A loaded checkpoint keeps its own. Checkpoints hold
    descriptions of the components and load with ``weights_only=True``; optimizer and scheduler are not part
    of them and have to be given again to train on.

    Logs ``train/<task>_loss`` and ``train/accuracy``; for validation and test ``<split>/accuracy`` and its
    ``accuracy_half_width`` (95% interval of the mean over episodes), ``<split>/<task>_loss``, and
    ``<split>/<group>/accuracy`` where the split is evaluated in several groups of classes.

    Args:
        backbone: Turns images into features; like all components, a description of one is accepted too.
        head: Turns features of support and query into logits.
        auxiliary: Self-supervised tasks; none for plain training.
        optimizer: Takes the parameters and returns an optimizer; Adam with 1e-3 by default.
        scheduler: Takes the optimizer and returns a scheduler, which advances every step.
        augmentation: Changes training images, before any views are made of them.
        batch_stats: ``main``: forward passes of auxiliary tasks normalize by their own batch but leave
            BatchNorm's running statistics to the main task. ``shared``: all of them update the statistics.
        image_shape: ``(C, H, W)``; None takes it from the trainer's datamodule.
        seed: Of the run; keys all randomness of training but the initial parameters, which
            ``seed_everything`` decides.

    Attributes:
        scores: Group of classes to its scores, of the last evaluation.

    Raises:
        TypeError: A component is of the wrong kind.
        ValueError: Two tasks share a name, or `batch_stats` is neither of the two.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        auxiliary: list[AuxiliaryTask] | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        augmentation: Augmentation | None = None,
        batch_stats: Literal["main", "shared"] = "main",
        image_shape: tuple[int, int, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_stats not in ("main", "shared"):
            raise ValueError(f"`batch_stats={batch_stats}` must be `main` or `shared`.")
        self.backbone = as_component("backbone", backbone, Backbone)  # type: ignore[type-abstract]  # it is abstract
        self.head = as_component("head", head, Head)  # type: ignore[type-abstract]  # as above
        tasks = [
            as_component("auxiliary", task, AuxiliaryTask)  # type: ignore[type-abstract]  # as above
            for task in auxiliary or []
        ]
        names = ["main", *(task.name for task in tasks)]
        if len(set(names)) < len(names):
            raise ValueError(
                f"`auxiliary` makes the tasks {names}; give each its own name, other than `main`."
            )
        self.auxiliary = nn.ModuleDict({task.name: task for task in tasks})
        self.augmentation = (
            None if augmentation is None else as_component("augmentation", augmentation, Augmentation)
        )
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.batch_stats = batch_stats
        self.image_shape: tuple[int, int, int] | None = None
        self.seed = seed
        self._has_statistics = False
        self.register_load_state_dict_post_hook(_keep_statistics)  # type: ignore[no-untyped-call]  # untyped in torch
        if image_shape is None:
            self._save_descriptions()
        else:
            self.build(image_shape)

    @property
    def task_names(self) -> list[str]:
        """``main`` and the names of the auxiliary tasks, in the order of the losses."""
        return ["main", *self.auxiliary]

    def build(self, image_shape: Sequence[int]) -> None:
        """Make all layers for images ``(C, H, W)``; a second call with the same shape changes nothing.

        Raises:
            ValueError: The shape does not suit the backbone, or is not the one it was built for.
        """
        channels, height, width = image_shape
        self.backbone.build((channels, height, width))
        if self.image_shape is not None:
            return
        self.head.build(self.backbone.num_features)
        for task in self._auxiliary():
            task.build(self.backbone.num_features)
        self.register_buffer("mean", torch.full((channels,), 0.5))
        self.register_buffer("std", torch.full((channels,), 0.5))
        self.image_shape = (channels, height, width)
        self._save_descriptions()

    def attach(self, datamodule: object) -> None:
        """Make the layers for a datamodule's images and take its mean and std, as `setup` does.

        Args:
            datamodule: After its own `setup`; `psst.datamodules.EpisodicDataModule` or the like.

        Raises:
            TypeError: It has no `image_shape`, `episode_plan` or `eval_episodes`.
        """
        data = few_shot_data(datamodule)
        self.build(data.image_shape)
        mean, std = getattr(data, "mean", None), getattr(data, "std", None)
        if not self._has_statistics and mean is not None and std is not None:
            self.mean.copy_(torch.as_tensor(mean))
            self.std.copy_(torch.as_tensor(std).clamp_min(1 / 255))  # a channel may be the same everywhere
            self._has_statistics = True

    def setup(self, stage: str) -> None:
        """Build for the trainer's datamodule; without one, `image_shape` must have been given."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None or self.image_shape is None:
            self.attach(datamodule)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, and the scheduler, which advances every step."""
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):  # advances when its metric is known
            monitor = getattr(scheduler, "monitor", "val/accuracy")
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of images ``[n, C, H, W]`` (uint8, or float in [0, 1])."""
        features: Tensor = self.backbone(self._normalized(images))
        return features

    def embed(self, images: Tensor) -> Tensor:
        """Return features as `forward` does, in evaluation mode and without gradients."""
        with evaluating(self.backbone), torch.no_grad():
            return cast(Tensor, self(images))

    def task_losses(self, episode: Episode) -> dict[str, Tensor]:
        """Return the loss of each task on an episode, in the current mode, main first."""
        return self._losses(episode)[0]

    def renew_batch_statistics(self, episodes: Iterable[Episode]) -> None:
        """Replace BatchNorm's running statistics by their average over the images of some episodes."""
        batches = (self._training_images(episode, int(episode.index[0])) for episode in episodes)
        renew_statistics(self.backbone, batches)

    def training_step(self, batch: Episode, batch_idx: int) -> dict[str, Any]:
        """Return the sum of the losses as ``loss`` and each by its name as ``losses``.

        Raises:
            TypeError: The batch is no `Episode`.
            ValueError: A loss is NaN or infinite.
        """
        if not isinstance(batch, Episode):
            raise TypeError(
                f"FewShotModule trains on batches of psst.episodes.Episode, found {type(batch).__name__}; "
                "the data modules of psst give them with `data.init_args.batches=episodes`."
            )
        losses, accuracy = self._losses(batch)
        _check_finite(losses, self.global_step)
        if self._trainer is not None:  # a step may be taken without a trainer
            logged = {f"train/{name}_loss": loss.detach() for name, loss in losses.items()}
            self.log_dict({**logged, "train/accuracy": accuracy}, batch_size=len(batch.index))
        return {"loss": sum(losses.values()), "losses": losses}

    def evaluation_features(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of a validation or test loader's images."""
        return cast(Tensor, self(images))

    def auxiliary_losses(self, images: Tensor, *key: int | str) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and loss of each auxiliary task on images ``[n, C, H, W]``, views keyed by `key`."""
        return self._auxiliary_losses(self._normalized(images), *key)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return features ``[n, D]`` of the batch's images."""
        return self.embed(batch["image"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the format, so that an older psst can refuse it by name."""
        checkpoint[FORMAT_KEY] = FORMAT

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, naming both.

        Raises:
            ValueError: It does not fit.
        """
        path = None if self._trainer is None else self._trainer.ckpt_path
        if self.strict_loading:
            check_checkpoint(checkpoint, self.state_dict(), self.hparams, None if path is None else str(path))

    def _auxiliary(self) -> Iterator[AuxiliaryTask]:
        return (cast(AuxiliaryTask, task) for task in self.auxiliary.values())

    def _save_descriptions(self) -> None:
        augmentation = None if self.augmentation is None else describe(self.augmentation)
        self.save_hyperparameters(
            {
                "backbone": describe(self.backbone),
                "head": describe(self.head),
                "auxiliary": [describe(task) for task in self._auxiliary()],
                "augmentation": augmentation,
                "batch_stats": self.batch_stats,
                "image_shape": None if self.image_shape is None else list(self.image_shape),
                "seed": self.seed,
            }
        )

    def _normalized(self, images: Tensor) -> Tensor:
        scaled = images.to(self.mean.dtype)
        if not images.is_floating_point():
            scaled = scaled / 255
        return (scaled - self.mean[:, None, None]) / self.std[:, None, None]

    def _training_images(self, episode: Episode, index: int) -> Tensor:
        """Return the images of all episodes ``[B * (NS + NQ), C, H, W]``, augmented and normalized."""
        images = torch.cat([episode.support, episode.query], dim=1).flatten(0, 1)
        return self._augmented(images, "augmentation", index)

    def _with_unlabeled(self, images: Tensor, episode: Episode, index: int) -> Tensor:
        """Return an episode's training images and, augmented and normalized like them, its unlabeled ones."""
        if episode.unlabeled is None:
            return images
        unlabeled = episode.unlabeled.flatten(0, 1)
        return torch.cat([images, self._augmented(unlabeled, "augmentation", "unlabeled", index)])

    def _augmented(self, images: Tensor, *key: int | str) -> Tensor:
        """Return images ``[n, C, H, W]`` augmented by draws of their own key, and normalized."""
        if self.augmentation is not None:
            images = self.augmentation(images, torch_generator(images.device, self.seed, *key))
        return self._normalized(images)

    def _losses(self, episode: Episode) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses by task, and the main task's accuracy."""
        index = int(episode.index[0])  # the step's one wait for the device before its work is queued
        images = self._training_images(episode, index)
        with self._keyed_dropout(images.device, "main", index):
            features = self.backbone(images).unflatten(0, (len(episode.index), -1))
            support, query = features.split([episode.support.shape[1], episode.query.shape[1]], dim=1)
            logits = self.head(support, episode.support_labels, query, episode.n_way).flatten(0, 1)
        labels = episode.query_labels.flatten()
        losses = {"main": F.cross_entropy(logits, labels)}
        losses |= self._auxiliary_losses(self._with_unlabeled(images, episode, index), index)
        return losses, (logits.detach().argmax(dim=1) == labels).float().mean()

    def _auxiliary_losses(self, images: Tensor, *key: int | str) -> Iterator[tuple[str, Tensor]]:
        """Yield each auxiliary task's name and its loss on normalized images ``[n, C, H, W]``."""
        for task in self._auxiliary():
            views, targets = task.views(images, torch_generator(images.device, self.seed, task.name, *key))
            statistics = frozen_statistics(self.backbone) if self.batch_stats == "main" else nullcontext()
            with statistics, self._keyed_dropout(images.device, task.name, *key):
                loss = task.loss(self.backbone(views), targets)
            yield task.name, loss

    @contextmanager
    def _keyed_dropout(self, device: torch.device, *key: int | str) -> Iterator[None]:
        """Key the global generators, which dropout draws from, and put them back afterwards."""
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices, enabled=self.training):
            if self.training:
                torch.manual_seed(stream_key(self.seed, "dropout", *key))
            yield


def _keep_statistics(module: nn.Module, _: object) -> None:
    """Once parameters are loaded, the mean and std that came with them belong to them."""
    if isinstance(module, FewShotModule) and module.image_shape is not None:
        module._has_statistics = True


def _check_finite(losses: Mapping[str, Tensor], step: int) -> None:
    values = torch.stack([loss.detach().float() for loss in losses.values()])
    if bool(values.isfinite().all()):
        return
    name, value = next(
        (name, value) for name, value in zip(losses, values.tolist(), strict=True) if not math.isfinite(value)
    )
    raise ValueError(
        f"the loss of task `{name}` is {value} at step {step} (of {', '.join(losses)}); "
        "lower the learning rate, or look at the images of this step."
    )
