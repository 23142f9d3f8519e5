"""Tasks on a shared encoder: what counts, and what is learned beside it. One task a file."""

from psst.tasks.classes import Classes
from psst.tasks.distillation import Distillation
from psst.tasks.encode import MAIN, Encode
from psst.tasks.episodes import Episodes
from psst.tasks.episodic import Episodic
from psst.tasks.feature_reconstruction import FeatureReconstruction
from psst.tasks.global_classes import GlobalClasses
from psst.tasks.jigsaw import Jigsaw
from psst.tasks.manifold_mixup import ManifoldMixup
from psst.tasks.patch_location import PatchLocation
from psst.tasks.preserve import Preserve
from psst.tasks.rotated_classes import RotatedClasses
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
    "Episodes",
    "Episodic",
    "FeatureReconstruction",
    "GlobalClasses",
    "Jigsaw",
    "MainTask",
    "ManifoldMixup",
    "PatchLocation",
    "Preserve",
    "RotatedClasses",
    "Rotation",
    "SelfDistillation",
    "SimCLR",
    "SupervisedContrastive",
    "Task",
]
