"""Noisy pictures of colors in a folder a class, and an exported encoder with random weights."""

import numpy as np
import torch
from PIL import Image

from psst.backbones import Conv4
from psst.deploy.export import export_encoder
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic
from psst.training import FewShotModule

SIDE = 24
COLORS = {"amber": (250, 190, 0), "blue": (20, 40, 220), "green": (20, 180, 60)}


def picture(color, rng, side=SIDE, noise=25):
    noise = rng.normal(0, noise, (side, side, 3))
    return Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8))


def save_pictures(root, counts, seed=0):
    """Of each class so many, `root/CLASS/NUMBER.png`; classes without a color are gray."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture(COLORS.get(name, (120, 120, 120)), rng).save(root / name / f"{number}.png")
    return root


def exported(root, classes=()):
    """A checkpoint `model.ckpt` in a folder and `encoder`, its export."""
    from pytorch_lightning import Trainer

    torch.manual_seed(0)
    shape = {"image_shape": (3, SIDE, SIDE), "classes": list(classes)}
    module = FewShotModule(Conv4(hidden=8), Episodic(PrototypicalHead()), **shape)
    module.encoder.normalize_by([0.4, 0.4, 0.4], [0.3, 0.3, 0.3])
    trainer = Trainer(max_steps=0, logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(root / "model.ckpt")
    return export_encoder(root / "model.ckpt", root / "encoder")
