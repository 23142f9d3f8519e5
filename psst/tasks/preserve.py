"""Stay near features that one has reason to trust."""

import copy
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.images.view import View
from psst.tasks.task import Encode, Task


class Preserve(Task):
    """Keep the direction of each feature near that of a reference: mean of 1 - cosine, in [0, 2].

    Args:
        reference: ``frozen``: the feature before the trained part of the backbone, as an adapter has it;
            ``start``: the feature that the encoder gave when the fit began, from weights loaded before.
        crop: View of the reference: 0 for that of the feature itself, 1 for another augmentation.

    Raises:
        ValueError: `reference` is neither of the two, or `crop` is negative.

    References:
        Our own form of feature distillation: Romero et al., FitNets, 2014 (arXiv:1412.6550).

    Example:
        >>> FewShotModule(adapter, GlobalClasses(PrototypicalHead()), auxiliary=[Preserve()])
    """

    name = "preserve"
    unit = "raw"  # an adapter begins as the identity
    started: Tensor

    def __init__(self, reference: Literal["frozen", "start"] = "frozen", crop: int = 0) -> None:
        super().__init__()
        if reference not in ("frozen", "start"):
            raise ValueError(f"`reference={reference}` must be `frozen` or `start`.")
        if crop < 0:
            raise ValueError(f"`crop={crop}` must be at least 0.")
        self.reference, self.crop = reference, crop

    def views(self) -> tuple[View, ...]:
        """Return the view of the main task, and that of the reference."""
        return View(), View(crop=self.crop)

    def build(self, setup: Setup) -> None:
        """Make room for the weights of the start, for a resumed fit; TypeError without a frozen part."""
        backbone = setup.encoder.backbone
        if self.reference == "frozen" and not backbone.has_frozen:
            raise TypeError(
                f"`reference=frozen` needs a backbone with a frozen part, {type(backbone).__name__} has "
                "none; write `reference: start` to stay near the weights that the fit begins with."
            )
        if self.reference == "start":
            self.encoder = copy.deepcopy(setup.encoder).requires_grad_(False)
            self.register_buffer("started", torch.tensor(False))

    def start(self, setup: Setup) -> None:
        """Copy the encoder once."""
        if self.reference == "start" and not self.started:
            self.encoder.load_state_dict(setup.encoder.state_dict())
            self.started.fill_(True)

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean distance over all images, unlabeled ones included."""
        view = View(crop=self.crop)
        frozen = self.reference == "frozen"
        kept = encode.frozen(batch, view) if frozen else encode.by(self.encoder)(batch, view)
        return (1 - F.cosine_similarity(encode(batch), kept, dim=1)).mean()
