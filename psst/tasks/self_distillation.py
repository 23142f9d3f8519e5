"""Predict what an average of one's own past says of another view."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from psst.backbones import Encoder, Setup
from psst.episodes import Batch
from psst.images.view import View
from psst.tasks.simclr import projection
from psst.tasks.task import Encode, Task


class SelfDistillation(Task):
    r"""Predict the feature that a teacher gives for another crop: mean of :math:`1 - \cos`, in [0, 2].

    The teacher is an exponential moving average of the encoder's weights, and gives no gradients. The
    student's feature is that of the main task, so a step costs one forward pass of the teacher.

    Args:
        decay: Of the average, for every optimizer step, in [0, 1).
        policy: Name of the augmentation in the data module that makes the teacher's crop.

    Raises:
        ValueError: `decay` is out of its range.

    References:
        Grill et al., Bootstrap Your Own Latent, 2020 (arXiv:2006.07733), eq. 2. Departures: one direction,
        features in place of a second projection, the main task's crop as the student's.

    Example:
        >>> FewShotModule(Conv4(), Episodic(PrototypicalHead()), auxiliary=[SelfDistillation(decay=0.99)])
    """

    name = "self_distillation"

    def __init__(self, decay: float = 0.99, policy: str = "main") -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"`decay={decay}` must be in [0, 1); 0.99 is usual.")
        self.decay, self.policy = decay, policy

    def views(self) -> tuple[View, ...]:
        """Return the student's view and the teacher's."""
        return View(), View(crop=1, policy=self.policy)

    def build(self, setup: Setup) -> None:
        """Make the predictor, and the teacher as a copy of the encoder."""
        self.predictor = projection(setup.num_features, setup.num_features)
        averaging = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]  # untyped in torch
        self.teacher = AveragedModel(setup.encoder, multi_avg_fn=averaging)
        self.teacher.requires_grad_(False)

    def start(self, setup: Setup) -> None:
        """Begin the average with the weights that the fit begins with; a resumed one goes on."""
        if not self.teacher.n_averaged:
            self.teacher.update_parameters(setup.encoder)

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean distance over all images, unlabeled ones included."""
        _, view = self.views()
        target = encode.by(cast(Encoder, self.teacher.module))(batch, view)
        return (1 - F.cosine_similarity(self.predictor(encode(batch)), target, dim=1)).mean()

    def after_step(self, setup: Setup) -> None:
        """Move the teacher toward the encoder; running statistics are taken as they are."""
        self.teacher.update_parameters(setup.encoder)
