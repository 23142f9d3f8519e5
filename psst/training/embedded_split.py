"""The features of a split, and the episodes drawn from them."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import distributed as dist

from psst.episodes import EpisodeSampler
from psst.evaluation import EpisodeScores, evaluate_episodes
from psst.fewshot import Head


class EmbeddedSplit:
    """Collects each image's features once, then scores any number of episodes on them.

    Example:
        >>> split = EmbeddedSplit()
        >>> split.add(torch.randn(4, 8), torch.arange(4))
        >>> scores = split.scores(datamodule.episode_plan("val"), PrototypicalHead(), n_episodes=100)
    """

    def __init__(self) -> None:
        self._features: list[Tensor] = []
        self._image_ids: list[Tensor] = []

    def add(self, features: Tensor, image_ids: Tensor) -> None:
        """Take a batch of features ``[n, ...]`` of the images ``[n]``."""
        self._features.append(features.float())
        self._image_ids.append(image_ids)

    def scores(
        self, plan: Mapping[str, EpisodeSampler], head: Head, n_episodes: int, partial: bool = False
    ) -> dict[str, EpisodeScores]:
        """Evaluate `n_episodes` of each group of classes; with several processes, each scores them all.

        Args:
            plan: Group name to the sampler of its episodes.
            head: Classifies features; in evaluation mode.
            n_episodes: Of each group.
            partial: Let images that were seen stand in for those that were not (``fast_dev_run``).

        Raises:
            ValueError: Images of the split were left out and `partial` is False.
        """
        features, image_ids = self._gathered()
        needed = np.unique(np.concatenate([sampler.image_ids for sampler in plan.values()]))
        missing = np.setdiff1d(needed, image_ids)
        if len(missing) and not partial:
            raise ValueError(
                f"episodes need every image of the split, {len(missing)} of {len(needed)} were left out; "
                "leave `trainer.limit_val_batches` and `trainer.limit_test_batches` alone and lower "
                "`val_episodes` or `test_episodes` of `data.init_args.evaluation` instead."
            )
        if len(missing):
            rows = torch.arange(len(needed), device=features.device) % len(features)
            features, image_ids = features[rows], needed
        return {
            group: evaluate_episodes(features, sampler, head, n_episodes, image_ids)
            for group, sampler in plan.items()
        }

    def _gathered(self) -> tuple[Tensor, npt.NDArray[np.int64]]:
        features, image_ids = torch.cat(self._features), torch.cat(self._image_ids).cpu()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # Ranks hold different numbers of images; what a sampler repeats falls on one row.
            parts: list[tuple[Tensor, Tensor]] = [(features, image_ids)] * dist.get_world_size()
            dist.all_gather_object(parts, (features.cpu(), image_ids))
            features = torch.cat([part[0] for part in parts]).to(features.device)
            image_ids = torch.cat([part[1] for part in parts])
        return features, image_ids.numpy()
