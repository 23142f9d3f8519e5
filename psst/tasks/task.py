"""What every task offers, main and auxiliary alike."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from psst.backbones import Setup
from psst.episodes import Batch
from psst.fewshot import Head
from psst.images.view import View
from psst.tasks.encode import Encode


class Task(nn.Module, ABC):
    """Turns a batch into a loss, by asking for the features of the views that it needs.

    A subclass keeps its constructor's arguments as attributes, gives itself a `name`, makes its layers in
    `build`, and implements `loss`. The loss depends on the batch and on `draws` only; every random choice
    comes from `draws`, which is on the CPU, so that nobody waits for the device.

    Attributes:
        name: One word, unique in a module; names the loss in logs, such as ``train/rotation_loss``.
        maps: Whether it reads feature maps.
        by_class: Whether its layers are those of certain training classes.
        turned: Whether it asks for quarter turns of the views, which a cache of features must hold then.
        unit: What a weight of a search counts in: ``mean``, the running mean of the loss, or ``raw``, the
            loss itself, for one that starts at its least value.

    Example:
        >>> class Upright(Task):  # is an image turned upside down?
        ...     name = "upright"
        ...
        ...     def build(self, setup):
        ...         self.classifier = nn.Linear(setup.num_features, 2)
        ...
        ...     def loss(self, batch, encode, draws):
        ...         turned = torch.randint(2, (len(batch),), generator=draws)
        ...         logits = self.classifier(encode(batch, View(turns=tuple(2 * turned))))
        ...         return F.cross_entropy(logits, turned.to(logits.device))
    """

    name: str
    maps: bool = False
    by_class: bool = False
    turned: bool = False
    unit: Literal["mean", "raw"] = "mean"

    def __init__(self) -> None:
        super().__init__()

    def views(self) -> tuple[View, ...]:
        """Return the views that it asks for, turns aside; their policies must be those of the data."""
        return (View(),)

    def build(self, setup: Setup) -> None:
        """Make the layers; called once, when the encoder stands.

        Args:
            setup: Encoder, training classes and main task.
        """

    def start(self, setup: Setup) -> None:
        """Take what it needs of the weights that a fit begins with, such as a teacher's copy."""

    @abstractmethod
    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean loss, a scalar; None where the batch holds nothing for this task.

        Args:
            batch: Of training, or of validation: images without labels.
            encode: Gives features of views.
            draws: On the CPU, keyed by the task's name and the batch.
        """

    def after_step(self, setup: Setup) -> None:
        """Follow the weights after an optimizer step, as an averaged teacher does."""

    def chance(self, batch: Batch) -> float | None:
        """Return the loss of a guess that knows nothing, in nats; None where there is no such level."""
        return None


class MainTask(Task):
    """The task that counts: its head classifies the episodes of evaluation.

    Args:
        head: Turns features of support and query into logits.

    Attributes:
        accuracy: Of the last batch, a detached scalar; None before.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.accuracy: Tensor | None = None

    def build(self, setup: Setup) -> None:
        """Make the layers of the head."""
        self.head.build(setup)

    def _note(self, logits: Tensor, labels: Tensor) -> None:
        """Keep the share of ``logits`` ``[..., N]`` whose largest entry is that of ``labels`` ``[...]``."""
        self.accuracy = (logits.detach().argmax(dim=-1) == labels).float().mean()
