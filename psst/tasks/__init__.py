"""Tasks on a shared encoder: what counts, and what is learned beside it. One task a file."""

from psst.tasks.classes import Classes as Classes
from psst.tasks.distillation import Distillation as Distillation
from psst.tasks.episodes import Episodes as Episodes
from psst.tasks.episodic import Episodic as Episodic
from psst.tasks.feature_reconstruction import FeatureReconstruction as FeatureReconstruction
from psst.tasks.global_classes import GlobalClasses as GlobalClasses
from psst.tasks.jigsaw import Jigsaw as Jigsaw
from psst.tasks.manifold_mixup import ManifoldMixup as ManifoldMixup
from psst.tasks.patch_location import PatchLocation as PatchLocation
from psst.tasks.preserve import Preserve as Preserve
from psst.tasks.rotated_classes import RotatedClasses as RotatedClasses
from psst.tasks.rotation import Rotation as Rotation
from psst.tasks.self_distillation import SelfDistillation as SelfDistillation
from psst.tasks.simclr import SimCLR as SimCLR
from psst.tasks.supervised_contrastive import SupervisedContrastive as SupervisedContrastive
from psst.tasks.task import MAIN as MAIN
from psst.tasks.task import Encode as Encode
from psst.tasks.task import MainTask as MainTask
from psst.tasks.task import Task as Task
