"""Find the other images of the same class."""

import torch
from torch import Tensor

from psst.episodes import Batch
from psst.tasks.simclr import SimCLR


class SupervisedContrastive(SimCLR):
    """Tell which crops in the batch come from images of the same training class.

    As `SimCLR`, with labels: every image of the class counts as another crop. An image without a label
    belongs to none but itself.

    Args:
        temperature: Of the softmax.
        width: Length of a projected feature; 0 contrasts the features themselves.
        policy: Name of the augmentation in the data module that makes the crops; it must change images.

    Raises:
        ValueError: A number is out of its range.

    References:
        Khosla et al., Supervised Contrastive Learning, 2020 (arXiv:2004.11362), eq. 2 (L_out).

    Example:
        >>> FewShotModule(Conv4(), Episodic(PrototypicalHead()), auxiliary=[SupervisedContrastive()])
    """

    name = "supervised_contrastive"

    def __init__(self, temperature: float = 0.1, width: int = 128, policy: str = "main") -> None:
        super().__init__(temperature, width, policy)

    def _identities(self, batch: Batch) -> Tensor:
        alone = -1 - torch.arange(len(batch), device=batch.labels.device)
        return torch.where(batch.labels >= 0, batch.labels, alone)
