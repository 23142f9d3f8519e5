"""A small world in which every command works: pictures, a run, a checkpoint, what was made of it."""

import numpy as np
import torch
import yaml
from PIL import Image
from pytorch_lightning import Trainer

from psst.backbones import Conv4
from psst.datamodules import ImageFolder
from psst.deploy import FewShotClassifier
from psst.deploy.export import export_encoder
from psst.evaluation import EpisodeScores, save_scores
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule

SIDE = 16
NAMES = {"train": ("ant", "bee", "cow"), "val": ("dog", "eel"), "test": ("fox", "gnu")}
PART = "class_path"
RUN = {
    "seed_everything": 0,
    "model": {
        PART: "psst.training.FewShotModule",
        "init_args": {
            "backbone": {PART: "psst.backbones.Conv4", "init_args": {"hidden": 2}},
            "main": {
                PART: "psst.tasks.Episodic",
                "init_args": {"head": {PART: "psst.fewshot.PrototypicalHead"}},
            },
            "auxiliary": [{PART: "psst.tasks.Rotation"}],
        },
    },
    "data": {
        PART: "psst.datamodules.ImageFolder",
        "init_args": {
            "root": "photos",
            "size": SIDE,
            "episodes": {"way": 2, "query": 1},
            "evaluation": {"way": 2, "query": 1, "val_episodes": 2, "test_episodes": 2},
        },
    },
    "trainer": {
        "max_steps": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [{PART: "psst.callbacks.PSSTCallback", "init_args": {"tradeoff": 0.3}}],
    },
    "search": {"least_steps": 1},
}
RECIPE = {"source": "nobody, nowhere", "results": [{"way": 2, "shot": 1, "accuracy": 50.0}]}


def build(root):
    """Fill an empty folder, which is the current one."""
    put_photos(root / "photos")
    put_pictures(root / "pictures", [name for names in NAMES.values() for name in names], 3)
    (root / "run.yaml").write_text(yaml.safe_dump(RUN))
    (root / "recipe.yaml").write_text(yaml.safe_dump({**RUN, "recipe": RECIPE}))
    ImageFolder("photos", size=SIDE).open_store()
    (store,) = (path.parent for path in (root / ".psst").rglob("meta.json"))
    store.rename(root / "store")
    save_checkpoint(root / "model.ckpt")
    export_encoder(root / "model.ckpt", root / "encoder")
    FewShotClassifier("encoder").fit("pictures").save(root / "classifier")
    torch.save({name: torch.ones(2, 2) for name in ("a", "b")}, root / "weights.pth")
    for name in ("a", "b"):
        save_scores(root / name / "test_scores.npz", {"all": scores([0.5, 0.25, 1.0])})


def put_photos(root, images=3):
    for split, names in NAMES.items():
        put_pictures(root / split, names, images)


def put_pictures(root, names, images):
    rng = np.random.default_rng(list(str(root).encode()))
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")


def save_checkpoint(path):
    torch.manual_seed(0)
    shape = {"image_shape": (3, SIDE, SIDE), "classes": list(NAMES["train"])}
    module = FewShotModule(Conv4(hidden=2), Episodic(PrototypicalHead()), [Rotation()], **shape)
    module.encoder.normalize_by([0.4, 0.4, 0.4], [0.3, 0.3, 0.3])
    trainer = Trainer(max_steps=0, logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)


def scores(accuracies, **changes):
    values = np.asarray(accuracies, np.float32)
    arguments = {"stream": "s", "seed": 0, "n_way": 2, "n_shot": 1, "n_query": 1, **changes}
    return EpisodeScores(values, np.ones_like(values), **arguments)
