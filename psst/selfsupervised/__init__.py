"""Self-supervised tasks trained beside the few-shot task: one task a file."""

from psst.selfsupervised.auxiliary_task import AuxiliaryTask
from psst.selfsupervised.rotation import Rotation

__all__ = ["AuxiliaryTask", "Rotation"]
