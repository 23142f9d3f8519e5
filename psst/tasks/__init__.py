"""Tasks on a shared encoder: what counts, and what is learned beside it. One task a file."""

from psst.tasks.classes import Classes
from psst.tasks.distillation import Distillation
from psst.tasks.encode import MAIN, Encode
from psst.tasks.episodic import Episodic
from psst.tasks.global_classes import GlobalClasses
from psst.tasks.patch_location import PatchLocation
from psst.tasks.preserve import Preserve
from psst.tasks.rotation import Rotation
from psst.tasks.self_distillation import SelfDistillation
from psst.tasks.simclr import SimCLR
from psst.tasks.supervised_contrastive import SupervisedContrastive
from psst.tasks.task import MainTask, Task

__all__ = [
    "MAIN",
    "Classes",
    "Distillation",
    "Encode",
    "Episodic",
    "GlobalClasses",
    "MainTask",
    "PatchLocation",
    "Preserve",
    "Rotation",
    "SelfDistillation",
    "SimCLR",
    "SupervisedContrastive",
    "Task",
]
