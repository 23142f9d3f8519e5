"""Batches of random pictures, and a finished model, for the tests of tasks."""

import pytorch_lightning as pl
import torch

from psst.backbones import Conv4
from psst.episodes import Batch, EpisodeShape, Policies
from psst.fewshot import PrototypicalHead
from psst.images.augment import Augmentation
from psst.tasks import Episodic, GlobalClasses
from psst.training import FewShotModule

SIDE = 16
CLASSES = ("a", "b", "c", "d")
SHAPE = EpisodeShape(episodes=2, way=3, shot=1, query=2)
AUGMENTED = Policies({"main": Augmentation(padding=2, brightness=0.4)})


def make_batch(policies=AUGMENTED, n_classes=4, n_unlabeled=3, seed=0, index=7, cls=Batch, **more):
    """Episodes of three of four classes, images of classes, unlabeled ones; uint8 pictures."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 2, 0, 0, 1, 1, 2, 2, 3, 1, 0, 3, 3, 1, 1, 0, 0])
    targets = torch.tensor([0, 1, 2, 0, 0, 1, 1, 2, 2] * 2)
    beside = torch.arange(n_classes) % 4
    unlabeled = torch.full((n_unlabeled,), -1)
    labels = torch.cat([labels, beside, unlabeled])
    pixels = torch.randint(256, (len(labels), 1, SIDE, SIDE), generator=rng, dtype=torch.uint8)
    ids = torch.randperm(len(labels), generator=rng)
    return cls(ids, labels, index, SHAPE, targets, n_unlabeled, pixels, policies, **more)


def finished_model(path):
    """Write the checkpoint of a model that classifies all classes."""
    pl.seed_everything(3, verbose=False)
    module = FewShotModule(
        Conv4(hidden=8), GlobalClasses(PrototypicalHead()), image_shape=(1, SIDE, SIDE), classes=list(CLASSES)
    )
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)
    return module


def built(task, setup, start=True):
    """Make the layers of a task, and start it."""
    torch.manual_seed(0)
    task.build(setup)
    if start:
        task.start(setup)
    return task.train()


def main_for(setup, by_class=False):
    """A built main task."""
    return built(GlobalClasses(PrototypicalHead()) if by_class else Episodic(PrototypicalHead()), setup)
