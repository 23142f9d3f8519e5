"""The training stream of a run: which batches, and how many make a pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from psst.episodes.batch import Batch, Policies
from psst.episodes.checks import check_split, check_unlabeled
from psst.episodes.recipes import training_sampler
from psst.episodes.settings import Episodes
from psst.episodes.shuffle import EndlessShuffle
from psst.episodes.stream import BatchStream
from psst.images.store import ImageStore
from psst.randomness import stream_key


@dataclass(frozen=True)
class TrainingPlan:
    """What a training stream consists of.

    Attributes:
        batches: ``episodes``; ``classes`` for images of all training classes; ``mixed`` for both.
        episodes: what they look like.
        batch_size: images of ``classes`` a batch.
        n_unlabeled: images for the auxiliary tasks alone, a batch.
        seed: of the stream.
    """

    batches: Literal["episodes", "classes", "mixed"]
    episodes: Episodes
    batch_size: int
    n_unlabeled: int
    seed: int

    @property
    def per_batch(self) -> int:
        """Episodes, or images, of one batch."""
        return self.batch_size if self.batches == "classes" else self.episodes.per_batch

    def check(self, store: ImageStore, name: str) -> None:
        """Hold the train split of ``store``, of the data set ``name``, against the plan.

        Raises:
            ValueError: too few classes, or too few images in a class.
        """
        if self.batches != "classes":
            check_split(store, name, "train", "episodes", self.episodes)
        check_unlabeled(name, self.n_unlabeled, len(store.unlabeled))

    def stream(
        self,
        store: ImageStore,
        policies: Policies,
        with_pixels: bool = True,
        make: Callable[..., Batch] = Batch,
    ) -> BatchStream:
        """Return the endless stream of batches."""
        sampler, classes, unlabeled = None, None, None
        if self.batches != "classes":
            sampler = training_sampler(store, self.episodes, stream_key(self.seed, "train"), self.seed)
        if self.batches != "episodes":
            key = stream_key(self.seed, "train", "classes")
            classes = EndlessShuffle(store.split_ids("train"), key, self.batch_size)
        if self.n_unlabeled:
            key = stream_key(self.seed, "train", "unlabeled")
            unlabeled = EndlessShuffle(store.unlabeled, key, self.n_unlabeled)
        return BatchStream(
            store,
            store.splits["train"],
            policies,
            sampler,
            self.episodes.per_batch,
            classes,
            unlabeled,
            with_pixels,
            make,
        )

    def pass_length(self, store: ImageStore, n_ranks: int) -> int:
        """Return the batches of one pass on each of ``n_ranks``: an epoch as Lightning counts them.

        It need not divide anything: the next pass begins with the first batch that no rank has seen.
        """
        if self.batches == "classes":
            return -(-len(store.split_ids("train")) // (self.batch_size * n_ranks))
        return max(1, self.episodes.per_epoch // (self.episodes.per_batch * n_ranks))
