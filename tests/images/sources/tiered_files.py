"""Small tieredImageNet files in the real formats."""

import pickle
from io import BytesIO

import numpy as np
from PIL import Image

WORDS = {"train": ["goldfinch, Carduelis carduelis", "crane"], "val": ["crane", "tench"], "test": ["a", "a"]}
LABELS = [1, 0, 0, 1, 1]
SPLITS = ("train", "val", "test")


def images(split):
    """Noise, redder than blue, so that swapped channels show."""
    rng = np.random.default_rng(SPLITS.index(split))
    return rng.integers(0, 100, (5, 20, 20, 3), np.uint8) + np.array([150, 50, 0], np.uint8)


def png(pixels):
    """Encode as cv2.imencode does: an array ``[bytes, 1]``."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return np.frombuffer(buffer.getvalue(), np.uint8)[:, None]


def labels_v1(split, **changes):
    labels = np.array(LABELS, np.int32)
    content = {"label_specific": labels, "label_general": labels * 0, "label_specific_str": WORDS[split]}
    return content | {"label_general_str": ["bird"]} | changes


def write_v1(root, dump=pickle.dumps, prefix=""):
    root.mkdir(parents=True)
    for split in SPLITS:
        (root / f"{prefix}{split}_images_png.pkl").write_bytes(dump([png(image) for image in images(split)]))
        (root / f"{prefix}{split}_labels.pkl").write_bytes(dump(labels_v1(split)))
    return root


def write_v2(root, save=np.savez):
    root.mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        save(root / f"{split}_images.npz", images=images(split)[..., ::-1])
        labels = [10 * number + label for label in LABELS]
        (root / f"{split}_labels.pkl").write_bytes(pickle.dumps({"labels": labels}))
    return root
