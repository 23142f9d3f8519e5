"""Tell by how many quarter turns an image was rotated."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.images.view import View
from psst.tasks.task import Encode, Task

_N_TURNS = 4


class Rotation(Task):
    """Predict the quarter turn of each image, by a linear classifier on its features and cross-entropy.

    Args:
        turns: ``one`` random turn of every image, ``all`` four (four times the cost, less noise), or
            ``quarter``: all four of a random quarter of the images.

    Raises:
        ValueError: `turns` is none of them.

    References:
        Gidaris et al., Unsupervised Representation Learning by Predicting Image Rotations, 2018
        (arXiv:1803.07728); beside few-shot learning: Gidaris et al. 2019 (arXiv:1906.05186); a quarter of
        the batch: Mangla et al., Charting the Right Manifold, 2020 (arXiv:1907.12087).

    Example:
        >>> FewShotModule(Conv4(), Episodic(PrototypicalHead()), auxiliary=[Rotation(turns="all")])
    """

    name = "rotation"
    classifier: nn.Module
    turned = True

    def __init__(self, turns: Literal["one", "all", "quarter"] = "one") -> None:
        super().__init__()
        if turns not in ("one", "all", "quarter"):
            raise ValueError(
                f"`turns={turns}` must be `one` (a random turn an image), `all` (four) or `quarter` (four "
                "of a quarter of the images)."
            )
        self.turns = turns

    def build(self, setup: Setup) -> None:
        """Make the classifier."""
        self.classifier = nn.Linear(setup.num_features, _N_TURNS)

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean cross-entropy over all images, unlabeled ones included.

        Raises:
            ValueError: The images are not square.
        """
        features, turns, _ = self._turned(batch, encode, draws)
        return F.cross_entropy(self.classifier(features), turns)

    def _turned(self, batch: Batch, encode: Encode, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return features ``[k, D]`` of turned images, their quarter turns ``[k]`` and labels ``[k]``."""
        if self.turns == "one":
            turns = torch.randint(_N_TURNS, (len(batch),), generator=draws)
            features = encode(batch, View(turns=tuple(turns.tolist())))
            return features, turns.to(features.device), batch.labels
        if self.turns == "quarter":
            batch = batch.take(torch.randperm(len(batch), generator=draws)[: -(-len(batch) // _N_TURNS)])
        features = encode(batch, *(View(turns=(turn,)) for turn in range(_N_TURNS))).flatten(0, 1)
        turns = torch.arange(_N_TURNS, device=features.device).repeat_interleave(len(batch))
        return features, turns, batch.labels.repeat(_N_TURNS)

    def chance(self, batch: Batch) -> float | None:
        """Return log 4."""
        return math.log(_N_TURNS)
