"""What all data sets of few-shot classes share: the store, training batches, evaluation episodes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from psst.backbones import Encoder
from psst.components import as_component
from psst.episodes import Batch, Episodes, EpisodeSampler, Evaluation, Policies
from psst.episodes.evaluation_plan import EvaluationEpisodes
from psst.episodes.residence import Residence
from psst.episodes.settings import check_numbers
from psst.episodes.stream import BatchStream, EpisodeLoader, EpisodeOrder, ImageSplit, Reader, TrainingPlan
from psst.features import CachedBatch, FeatureCache, FeatureViews, build_features
from psst.images import ImageStore, Source, build_store
from psst.images.augment import Augmentation
from psst.images.files.download import RemoteFile, fetch
from psst.images.sources.layout import Layout
from psst.images.view import View
from psst.tasks import Task

_EVAL_BATCH = 256
_FAR = 10**9  # batches: no training gets there


class EpisodicDataModule(LightningDataModule, ABC):
    """Episodes to train on; every image once, and a plan of episodes over them, to validate and test.

    Training batch i depends on the seed, the settings of episodes and i only: not on workers, ranks, epochs
    or resumes. The position in the stream counts the batches trained on and travels in the checkpoint. If the
    train split has groups of classes, each batch keeps to one of them.

    Args:
        size: side length of the images, in pixels.
        episodes: to train on.
        evaluation: episodes to validate and test on.
        batches: ``episodes``; ``classes``: shuffled images of all training classes, for a classifier; or
            ``mixed``: both in every batch.
        batch_size: images of ``classes`` a batch; an epoch of them alone is one pass over the images.
        n_unlabeled: images without a class, a batch, that the auxiliary tasks see besides.
        augmentations: random changes to training images by name: ``main`` is what the main task sees; an
            auxiliary task may ask for another, such as stronger crops for contrastive learning.
        cache_dir: folder of the image stores.
        num_workers: loader processes; they change the speed only.
        seed: of all episodes.
        download: fetch the files of the data set into `root` if they are not there.
        mirror: address of a folder with copies of these files, tried first.
        device: where images, or features, are kept: ``auto`` on a training GPU if they fit, else on disk
            behind a memory map; ``map`` always on disk; a device such as ``cuda`` in its memory. It changes
            the speed only.
        features: views of every image whose frozen features are computed once and read in place of images;
            the backbone must have a frozen part, such as `psst.backbones.Adapted`. None for images.

    Raises:
        ValueError: a number is out of its range; at ``setup``, the data have too few classes or images.
    """

    channels: int = 3
    remote: tuple[RemoteFile, ...] = ()  # what `download` fetches
    manual: str = ""  # how to get the files by hand, in sentences

    def __init__(
        self,
        size: int,
        episodes: Episodes = Episodes(),
        evaluation: Evaluation = Evaluation(),
        batches: Literal["episodes", "classes", "mixed"] = "episodes",
        batch_size: int = 128,
        n_unlabeled: int = 0,
        augmentations: dict[str, Augmentation] | None = None,
        cache_dir: str = ".psst",
        num_workers: int = 0,
        seed: int = 0,
        download: bool = False,
        mirror: str | None = None,
        device: str = "auto",
        features: FeatureViews | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.episodes, self.evaluation = episodes, evaluation
        self.batches, self.batch_size, self.n_unlabeled = batches, batch_size, n_unlabeled
        self.augmentations: Mapping[str, Augmentation] = {
            name: as_component(f"augmentations.{name}", value, Augmentation)
            for name, value in (augmentations or {}).items()
        }
        self.cache_dir, self.num_workers, self.seed = cache_dir, num_workers, seed
        self.download, self.mirror, self.device = download, mirror, device
        self.features = features
        check_numbers({"size": size, "batch_size": batch_size})
        check_numbers({"n_unlabeled": n_unlabeled, "num_workers": num_workers, "seed": seed}, least=0)
        check_numbers({"episodes.way": episodes.way, "evaluation.way": evaluation.way}, least=2)
        if self.channels not in (1, 3):
            raise ValueError(f"`data.init_args.channels={self.channels}` must be 1 (grayscale) or 3 (color).")
        if not cache_dir:
            raise ValueError("`data.init_args.cache_dir=` is empty; name a folder.")
        name = type(self).__name__
        if download and not self.remote:
            advice = self.manual or "put its files below `data.init_args.root` by hand."
            raise ValueError(f"`data.init_args.download=true`: {name} has nothing to download; {advice}")
        if mirror is not None and not download:
            raise ValueError(f"`data.init_args.mirror={mirror}` needs `data.init_args.download=true`.")
        self._training = TrainingPlan(name, batches, self.episodes, batch_size, n_unlabeled, seed)
        self._residence = Residence(device)
        self._restart(0)
        self._opened: ImageStore | None = None  # not held against the settings yet
        self._evaluated: EvaluationEpisodes | None = None
        self._cached: FeatureCache | None = None
        self._division: Callable[[ImageStore], ImageStore] | None = None  # instead of the data's own
        self._ahead = 0

    @abstractmethod
    def source(self) -> Source:
        """Return the data set to store."""

    def prepare_data(self, check: bool = True) -> None:
        """Fetch the files if `download` says so, and build the store if it is not there.

        Raises:
            ConnectionError: a file is not to be had.
            ValueError: a class has fewer images than an episode takes, if `check`; before any is decoded.
        """
        if self.download:
            fetch(self.remote, Path(getattr(self, "root", ".")), self.mirror, self.manual)
        self.open_store(self._require_images if check and self._division is None else None)

    def open_store(self, check: Callable[[Any, Any], None] | None = None) -> ImageStore:
        """Return the store, built or opened at the first call; `check` and errors as of `build_store`."""
        if self._opened is None:
            self._opened = build_store(self.source(), self.size, Path(self.cache_dir), check=check)
        return self._opened

    def _require_images(self, labels: Any, layout: Mapping[str, Any]) -> None:
        """Refuse classes with fewer images than an episode takes of one."""
        asked = [] if self.evaluation.file else [("val", self.evaluation), ("test", self.evaluation)]
        for split, each in [("train", self.episodes)] * (self.batches != "classes") + asked:
            images = {one: np.flatnonzero(labels == one) for one in layout["splits"][split]}
            owner, names = f"split '{split}' of {type(self).__name__}", layout["class_names"]
            if images:  # how many there are is for `setup`
                EpisodeSampler(images, replace(each, way=1), 0, owner=owner, class_names=names)

    def setup(self, stage: str | None = None) -> None:
        """Open the store and check every split against the settings, so that no run fails at its test.

        Raises:
            ValueError: too few classes in a split, or too few images in a class; or `evaluation.file`
                lists episodes of other data.
        """
        if self._evaluated is None:
            store = self.open_store() if self._division is None else self._division(self.open_store())
            BatchStream(Reader(store, self.policies("train")), self._training)  # raises if it cannot serve it
            self._evaluated = EvaluationEpisodes(self.evaluation, self.seed, store, self._training.name)
        if stage == "fit":  # a checkpoint, if there is one, is loaded after this
            self._restart(self._batches_processed())

    def teardown(self, stage: str | None = None) -> None:
        """Free the device of the images."""
        self._residence.release()

    @property
    def store(self) -> ImageStore:
        """The opened image store.

        Raises:
            RuntimeError: before ``setup``.
        """
        return self._evaluation_episodes().store

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``, known before ``setup``."""
        return self.channels, self.size, self.size

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of the training images scaled to [0, 1]."""
        return self.store.mean

    @property
    def std(self) -> tuple[float, ...]:
        """As ``mean``."""
        return self.store.std

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of one pass of training batches; every pass goes on where training stands."""
        rank, ranks = self._rank_and_ranks()
        stream = BatchStream(self._reader("train", self._needs_pixels()), self._training)
        length = self._training.pass_length(self.store, ranks)
        return EpisodeLoader(
            stream,
            batch_size=None,  # an item is a batch already
            sampler=EpisodeOrder(self._begin_pass, length, rank, ranks),
            num_workers=self._n_workers,
            persistent_workers=self._n_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_batch(self, index: int) -> Batch:
        """Return one batch of the training stream."""
        return BatchStream(self._reader("train", self.features is None), self._training)[index]

    def policies(self, split: str) -> Policies:
        """Return what makes the views of ``split``; the main task sees changed training images only."""
        return Policies(self.augmentations, self.seed, split)

    @property
    def train_classes(self) -> tuple[str, ...]:
        """Names of the training classes, in the order of the labels of training batches."""
        return tuple(self.store.class_names[class_id] for class_id in self.store.splits["train"])

    @property
    def consumed(self) -> int:
        """Training batches that the trainer has processed; those fetched ahead do not count."""
        if self._before is None:
            return self._first
        return self._first + self._rank_and_ranks()[1] * (self._batches_processed() - self._before)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training stream."""
        return {"consumed": self.consumed, "per_batch": self._training.per_batch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the position of ``state_dict``; nothing is seen again, whatever a batch holds now."""
        seen = int(state_dict["consumed"]) * int(state_dict["per_batch"])
        self._restart(-(-seen // self._training.per_batch) + self._ahead)

    def see_other_batches(self, number: int) -> None:
        """Let training that goes on from a checkpoint see other batches than any other `number` would.

        Args:
            number: 0 for those that come next, k for those far ahead in the stream, never met otherwise.
        """
        self._ahead = number * _FAR

    def divide(self, division: Callable[[ImageStore], ImageStore]) -> None:
        """Use another division of the images, such as `ImageStore.divided` makes one; before ``setup``."""
        self._division = division

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return every validation image once."""
        return self._images("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return every test image once."""
        return self._images("test")

    predict_dataloader = test_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Look up the images of a batch that holds their ids; features may lie on the device."""
        if not isinstance(batch, Batch):
            return batch
        device = self._training_device()
        if isinstance(batch, CachedBatch):
            held = self._residence.hold(batch.cache.features.nbytes, batch.cache.to, device)
            return batch if held is None else replace(batch, cache=held)
        return self._residence.fill(batch, device or torch.device("cpu"))

    def cache_features(self, encoder: Encoder, tasks: Sequence[Task]) -> Tensor:
        """Compute the frozen features that tasks ask for, or find them: batches read them from then on.

        Returns:
            The mean frozen feature ``[D']`` of the training images, upright.

        Raises:
            RuntimeError: `features` is None.
            TypeError: the backbone has no frozen part.
            ValueError: a task asks for more crops than `features` has.
            OSError: there is no room for them.
        """
        if self.features is None:
            raise RuntimeError("`data.init_args.features` is null; set it to `{crops: 3, turned: 1}`.")
        policies = self.policies("train")
        asked = [View(), *(view for task in tasks for view in task.views())]
        turns = any(task.turned for task in tasks)
        views = self.features.columns([policies.resolved(view) for view in asked], turns)
        device = self._training_device() or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._cached = FeatureCache.open(
            build_features(encoder, self.store, views, policies, self.cache_dir, device)
        )
        return self._cached.mean(torch.from_numpy(self.store.split_ids("train")))

    @property
    def feature_cache(self) -> FeatureCache:
        """What `cache_features` has found.

        Raises:
            RuntimeError: before it.
        """
        if self._cached is None:
            raise RuntimeError(
                "batches of features are there after `cache_features`, or `FewShotModule.attach`, only."
            )
        return self._cached

    def episode_plan(self, split: str) -> dict[str, EpisodeSampler]:
        """Return a sampler of evaluation episodes for each group of ``split``; "all" if there are none."""
        return dict(self._evaluation_episodes().plans[split])

    def eval_episodes(self, split: str) -> int:
        """Return how many episodes of each sampler of ``episode_plan(split)`` to evaluate."""
        return self._evaluation_episodes().counts[split]

    def save_episodes(self, path: str | Path) -> None:
        """Write the validation and test episodes to an .npz file, for `evaluation.file` elsewhere."""
        self._evaluation_episodes().save(path)

    def _restart(self, consumed: int) -> None:
        """Go on from here, whatever was processed."""
        self._first = consumed  # index with which the current pass began
        self._before: int | None = None  # batches that each rank had processed when it began

    def _begin_pass(self) -> int:
        first = self._first = self.consumed
        self._before = self._batches_processed()
        if self.trainer is None:  # a plain loop over the loader: each pass takes the next batches
            self._first += self._training.pass_length(self.store, 1)
        return first

    def _batches_processed(self) -> int:
        """Count what went through a training step; saved and restored by the trainer's loops."""
        if self.trainer is None:
            return 0
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.state_dict()["total"]["processed"])

    def _rank_and_ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _training_device(self) -> torch.device | None:
        """Return the device of a trainer that runs: the images of its batches can be looked up there."""
        trainer = self.trainer
        return None if trainer is None or trainer.state.stopped else trainer.strategy.root_device

    def _needs_pixels(self) -> bool:
        return self.features is None and self._residence.needs_pixels(self.store, self._training_device())

    def _reader(self, split: str, with_pixels: bool) -> Reader:
        made = Batch if self.features is None else partial(CachedBatch, cache=self.feature_cache)
        return Reader(self.store, self.policies(split), with_pixels, made)

    @property
    def _n_workers(self) -> int:
        return 0 if self.features else self.num_workers  # reading features takes less than handing them over

    def _images(self, split: str) -> DataLoader[Batch]:
        rank, ranks = self._rank_and_ranks()
        images = ImageSplit(self._reader(split, self._needs_pixels()), split, _EVAL_BATCH, ranks)
        order = DistributedSampler[Batch](images, ranks, rank, shuffle=False) if ranks > 1 else None
        return DataLoader(images, batch_size=None, sampler=order, num_workers=self._n_workers)

    def _evaluation_episodes(self) -> EvaluationEpisodes:
        if self._evaluated is None:
            raise RuntimeError(
                "the store is open after `prepare_data()` and `setup()` only; call them first."
            )
        return self._evaluated


class InLayouts(EpisodicDataModule):
    """A data set in the folder `root`: what it holds decides how it is read, if there are several ways."""

    layouts: tuple[Layout, ...]  # in order of preference
    _source: Source | None = None  # in place of what the layout would make

    def __init__(self, root: str, size: int = 84, **shared: Any) -> None:
        super().__init__(size=size, **shared)
        self.root = root

    def source(self) -> Source:
        """Return the images below `root`, in the layout that they have."""
        if self._source is not None:
            return self._source
        layout = Layout.choose(self.root, self.layouts, type(self).__name__)
        return layout.source(Path(self.root).expanduser())
