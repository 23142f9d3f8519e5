"""Classify mixtures of two images, mixed in the network."""

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.fewshot.head import positive
from psst.tasks.global_classes import logits_of
from psst.tasks.task import Encode, Task


class ManifoldMixup(Task):
    r"""Tell both classes of two images that are mixed at some stage of the network, by their shares.

    The images of the main task are mixed with partners, :math:`\lambda h + (1 - \lambda) h'` with
    :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` for the batch, and go on from there to the main task's
    classifier: :math:`\lambda\, \mathrm{CE}(c) + (1 - \lambda)\, \mathrm{CE}(c')`.

    Args:
        alpha: Of the distribution of the shares; the larger, the more even.
        stages: Where to mix, one of them at random a step: 0 is the input (of an adapter, the frozen
            feature), k what leaves the k-th of the backbone's ``blocks``. None: all but what leaves the last.

    Raises:
        ValueError: `alpha` is not above 0, or the backbone has no such stage.
        TypeError: The main task has no logits of the training classes.

    References:
        Verma et al., Manifold Mixup, 2019 (arXiv:1806.05236); in few-shot learning: Mangla et al., Charting
        the Right Manifold, 2020 (arXiv:1907.12087), alpha = 2.

    Example:
        >>> FewShotModule(ResNet12(), GlobalClasses(PrototypicalHead()), auxiliary=[ManifoldMixup()])
    """

    name = "manifold_mixup"
    _logits: Callable[[Tensor], Tensor]  # a method of the main task, which is not a part of this one

    def __init__(self, alpha: float = 2.0, stages: Sequence[int] | None = None) -> None:
        super().__init__()
        self.alpha, self.stages = positive("alpha", alpha), stages

    def build(self, setup: Setup) -> None:
        """Take the main task's classifier, and hold `stages` against the backbone."""
        backbone = setup.encoder.backbone
        self._logits, self._n_classes = logits_of(setup.main, self.name), len(setup.classes)
        blocks = None if backbone.has_frozen else getattr(backbone, "blocks", None)
        last = len(blocks) - 1 if isinstance(blocks, nn.Sequential) else 0
        self._stages = list(range(last + 1) if self.stages is None else self.stages)
        if not self._stages or not all(0 <= stage <= last for stage in self._stages):
            raise ValueError(
                f"`stages={self.stages}` must be numbers from 0 to {last}, where {type(backbone).__name__} "
                "can mix; null takes all of them."
            )

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean cross-entropy of the images that `GlobalClasses` classifies; None without."""
        part = batch.classes or batch.labeled
        if part is None:
            return None
        seed = int(torch.randint(2**31, (), generator=draws))
        share = random.Random(seed).betavariate(self.alpha, self.alpha)
        stage = self._stages[int(torch.randint(len(self._stages), (), generator=draws))]
        partner = torch.randperm(len(part), generator=draws).to(part.labels.device)

        def mixed(rows: Tensor) -> Tensor:
            return share * rows + (1 - share) * rows[partner]

        if encode.encoder.backbone.has_frozen:
            features = encode.features(mixed(encode.frozen(part)))
        elif stage == 0:
            features = encode.images(mixed(part.images()))
        else:
            block = encode.encoder.backbone.get_submodule(f"blocks.{stage}")
            with block.register_forward_pre_hook(lambda _, inputs: (mixed(inputs[0]), *inputs[1:])):
                features = encode.images(part.images())
        logits = self._logits(features)
        own, other = (F.cross_entropy(logits, labels) for labels in (part.labels, part.labels[partner]))
        return share * own + (1 - share) * other

    def chance(self, batch: Batch) -> float | None:
        """Return log M."""
        return math.log(self._n_classes)
