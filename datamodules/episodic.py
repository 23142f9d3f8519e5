"""What all data sets of few-shot classes share: the store, training episodes, evaluation episodes."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from psst.episodes import Episode, EpisodeLoader, EpisodeOrder, EpisodeSampler, EpisodeStream, ImageSplit
from psst.episodes.checks import check_images, check_way, class_groups
from psst.images.build import build_store
from psst.images.source import Source
from psst.images.store import ImageStore
from psst.randomness import stream_key

_EVAL_BATCH = 256


class EpisodicDataModule(LightningDataModule, ABC):
    """Episodes to train on; every image once, and a plan of episodes over them, to validate and test.

    Training episode i depends on the seed and on i only: not on workers, ranks, epochs or resumes. The
    position in the stream counts what was trained on and travels in the checkpoint.

    Args:
        size: side length of the images, in pixels.
        n_way: classes of a training episode.
        n_shot: support images a class.
        n_query: query images a class.
        eval_way: classes of a validation or test episode; a group with fewer classes uses all it has.
        eval_shot: support images a class in evaluation.
        eval_query: query images a class in evaluation.
        val_episodes: validation episodes, of each group.
        test_episodes: test episodes, of each group.
        episodes_per_epoch: training episodes after which Lightning counts an epoch.
        cache_dir: folder of the image stores.
        num_workers: loader processes; they change the speed only.
        seed: of all episodes.

    Raises:
        ValueError: a number is out of its range; at ``setup``, the data have too few classes or images.
    """

    channels: ClassVar[int] = 3

    def __init__(
        self,
        size: int,
        n_way: int = 5,
        n_shot: int = 1,
        n_query: int = 15,
        eval_way: int = 5,
        eval_shot: int = 1,
        eval_query: int = 15,
        val_episodes: int = 2000,
        test_episodes: int = 10000,
        episodes_per_epoch: int = 100,
        cache_dir: str = ".psst",
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.size = size
        self.n_way, self.n_shot, self.n_query = n_way, n_shot, n_query
        self.eval_way, self.eval_shot, self.eval_query = eval_way, eval_shot, eval_query
        self.val_episodes, self.test_episodes = val_episodes, test_episodes
        self.episodes_per_epoch = episodes_per_epoch
        self.cache_dir, self.num_workers, self.seed = cache_dir, num_workers, seed
        self._check_numbers()
        self._store: ImageStore | None = None
        self._first = 0  # index with which the current pass began
        self._batches_before: int | None = None  # batches the trainer had processed when it began

    @abstractmethod
    def source(self) -> Source:
        """Return the data set to store."""

    def prepare_data(self) -> None:
        """Build the store if it is not there."""
        self._open_store()

    def setup(self, stage: str | None = None) -> None:
        """Open the store and check every split against the settings, so that no run fails at its test.

        Raises:
            ValueError: too few classes in a split, or too few images in a class.
        """
        if self._store is None:
            store = self._open_store()
            self._check_splits(store)
            self._store = store
        if stage == "fit":  # a checkpoint, if there is one, is loaded after this
            self._first, self._batches_before = self._batches_processed(), None

    @property
    def store(self) -> ImageStore:
        """The opened image store.

        Raises:
            RuntimeError: before ``setup``.
        """
        if self._store is None:
            raise RuntimeError(
                "the store is open after `prepare_data()` and `setup()` only; call them first."
            )
        return self._store

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

    def train_dataloader(self) -> DataLoader[Episode]:
        """Return the loader of one pass of training episodes; every pass goes on where training stands."""
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        length = max(1, self.episodes_per_epoch // ranks)
        return EpisodeLoader(
            self._stream(),
            batch_size=None,  # an item is a batch already
            sampler=EpisodeOrder(self._begin_pass, length, rank, ranks),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_episode(self, index: int) -> Episode:
        """Return one episode of the training stream."""
        return self._stream()[index]

    @property
    def consumed(self) -> int:
        """Training episodes that the trainer has processed; those fetched ahead do not count."""
        if self._batches_before is None:
            return self._first
        ranks = self.trainer.world_size if self.trainer else 1
        return self._first + ranks * (self._batches_processed() - self._batches_before)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training stream."""
        return {"consumed": self.consumed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the position of ``state_dict``."""
        self._first, self._batches_before = int(state_dict["consumed"]), None

    def _begin_pass(self) -> int:
        if self.trainer is None:  # a plain loop over the loader: each pass takes the next episodes
            first, self._first = self._first, self._first + self.episodes_per_epoch
            return first
        self._first, self._batches_before = self.consumed, self._batches_processed()
        return self._first

    def _batches_processed(self) -> int:
        """Count what went through a training step; saved and restored by the trainer's loops."""
        if self.trainer is None:
            return 0
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.state_dict()["total"]["processed"])

    def _stream(self) -> EpisodeStream:
        sampler = self._sampler(
            "train", self.n_way, self.n_shot, self.n_query, stream_key(self.seed, "train")
        )
        return EpisodeStream(self.store, sampler, length=self.episodes_per_epoch)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return every validation image once."""
        return self._images("val")

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return every test image once."""
        return self._images("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return every test image once."""
        return self._images("test")

    def episode_plan(self, split: str) -> dict[str, EpisodeSampler]:
        """Return a sampler of evaluation episodes for each group of ``split``; "all" if there are none."""
        plan = {}
        for group, classes in class_groups(self.store, split).items():
            key = stream_key(self.seed, split, "evaluation", group)
            way = min(self.eval_way, len(classes))
            plan[group] = self._sampler(split, way, self.eval_shot, self.eval_query, key, classes)
        return plan

    def eval_episodes(self, split: str) -> int:
        """Return how many episodes of each sampler of ``episode_plan(split)`` to evaluate."""
        return self.test_episodes if split == "test" else self.val_episodes

    def _images(self, split: str) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(ImageSplit(self.store, split), batch_size=_EVAL_BATCH, num_workers=self.num_workers)

    def _sampler(
        self,
        split: str,
        way: int,
        shot: int,
        query: int,
        key: int,
        classes: npt.NDArray[np.int64] | None = None,
    ) -> EpisodeSampler:
        classes = self.store.splits[split] if classes is None else classes
        ids = [self.store.image_ids(int(class_id)) for class_id in classes]
        return EpisodeSampler(ids, classes, way, shot, query, key, self.seed)

    def _open_store(self) -> ImageStore:
        return build_store(self.source(), self.size, Path(self.cache_dir))

    def _check_numbers(self) -> None:
        least = {"n_way": 2, "eval_way": 2, "num_workers": 0, "seed": 0}
        names = ("size", "n_way", "n_shot", "n_query", "eval_way", "eval_shot", "eval_query", "val_episodes")
        for name in (*names, "test_episodes", "episodes_per_epoch", "num_workers", "seed"):
            value, bound = getattr(self, name), least.get(name, 1)
            if value < bound:
                raise ValueError(f"`data.init_args.{name}={value}` must be at least {bound}.")

    def _check_splits(self, store: ImageStore) -> None:
        name = type(self).__name__
        check_way(store, name, "train", ("n_way", self.n_way))
        check_images(store, name, "train", ("n_shot", self.n_shot), ("n_query", self.n_query))
        for split in ("val", "test"):
            check_way(store, name, split, ("eval_way", self.eval_way))
            check_images(store, name, split, ("eval_shot", self.eval_shot), ("eval_query", self.eval_query))
