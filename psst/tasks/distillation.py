"""Agree with a finished model on the training classes."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.fewshot.head import positive
from psst.tasks.finished import Finished, read_finished
from psst.tasks.global_classes import logits_of
from psst.tasks.task import Encode, Task


class Distillation(Task):
    r"""Match the class probabilities of a finished model: :math:`T^2\, \mathrm{KL}(p_T^\ast \,\|\, p_T)`.

    Both models classify all training classes (`GlobalClasses`); T softens both. The teacher sees the main
    task's view, and is not part of the checkpoint: a resumed fit reads it again, a finished model needs none.

    Args:
        checkpoint: Of the finished model, a FewShotModule whose main task is `GlobalClasses`.
        temperature: T.

    Raises:
        ValueError: `temperature` is not above 0; at the fit's start, the model has other classes.
        TypeError: One of the two main tasks has no logits of the training classes.

    References:
        Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (arXiv:1503.02531); a generation of
        few-shot training: Rajasegaran et al., Self-supervised Knowledge Distillation for Few-shot Learning,
        2020 (arXiv:2006.09785), T = 4.

    Example:
        >>> FewShotModule(Conv4(), GlobalClasses(PrototypicalHead()), auxiliary=[Distillation("best.ckpt")])
    """

    name = "distillation"
    _logits: Callable[[Tensor], Tensor]  # a method of the main task, which is not a part of this one
    _teacher: Finished | None = None  # no submodule: not saved

    def __init__(self, checkpoint: str, temperature: float = 4.0) -> None:
        super().__init__()
        self.checkpoint, self.temperature = checkpoint, positive("temperature", temperature)

    def build(self, setup: Setup) -> None:
        """Take the main task's classifier; TypeError if it has none."""
        self._logits = logits_of(setup.main, self.name)

    def start(self, setup: Setup) -> None:
        """Read the finished model; FileNotFoundError or ValueError where it is none, or of other classes."""
        teacher = read_finished(Path(self.checkpoint))
        logits_of(teacher.main, self.name)
        if teacher.classes != setup.classes:
            raise ValueError(
                f"`checkpoint={self.checkpoint}` must classify the {len(setup.classes)} training classes, it "
                f"knows {len(teacher.classes)} or others; train it on the same classes."
            )
        teacher.encoder.to(setup.encoder.mean.device)
        teacher.main.to(setup.encoder.mean.device)
        self._teacher = teacher

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean divergence over all images; None before the fit has started."""
        if self._teacher is None:
            return None
        with torch.no_grad():
            wanted = logits_of(self._teacher.main, self.name)(encode.by(self._teacher.encoder)(batch))
        found = F.log_softmax(self._logits(encode(batch)) / self.temperature, dim=1)
        target = F.log_softmax(wanted / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(found, target, reduction="batchmean", log_target=True)
