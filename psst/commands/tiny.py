"""Archives in the formats of the benchmarks, so small that a recipe runs on them in seconds."""

import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from psst.images import SPLITS

_CLASSES, _IMAGES = 6, 8  # of each split where the format does not say; of each class


def write_tiny(data: str, root: Path) -> None:
    """Write images of noise to `root`, unless it is there, in the format of the data module at `data`."""
    name = data.rpartition(".")[2]
    if name not in _WRITERS:
        raise ValueError(f"`--tiny` makes archives of {', '.join(_WRITERS)}, not of {data}; give `--root`.")
    if not root.exists():
        root.mkdir(parents=True)
        _WRITERS[name](root)


def _put(path: Path, number: int, side: int, channels: int = 3) -> None:
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, channels), np.uint8)
    shown = Image.fromarray(coarse.squeeze()).resize((side, side), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    (shown.convert("1") if channels == 1 else shown).save(path)


def _mini_imagenet(root: Path) -> None:
    """Lists of Ravi and Larochelle, and the images that they name."""
    for s, split in enumerate(SPLITS):
        rows = [(f"n{s}{c}{i:06}.jpg", f"n{s}{c}") for c in range(_CLASSES) for i in range(_IMAGES)]
        for filename, _ in rows:
            _put(root / "images" / filename, int(filename[1:-4]), 84)
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("filename", "label"), *rows])


def _cifar(root: Path) -> None:
    """Folders of the authors, one for each of the 100 classes."""
    from psst.datamodules import CifarFS

    for c, name in enumerate(CifarFS.published):
        for i in range(_IMAGES):
            _put(root / "cifar100" / "data" / name / f"{i}.png", 100 * c + i, 32)


def _tiered(root: Path) -> None:
    """Arrays and labels of MetaOptNet."""
    for s, split in enumerate(SPLITS):
        labels = np.repeat(np.arange(_CLASSES), _IMAGES)
        images = np.random.default_rng(s).integers(0, 256, (len(labels), 84, 84, 3), np.uint8)
        np.savez(root / f"{split}_images.npz", images=images)
        (root / f"{split}_labels.pkl").write_bytes(pickle.dumps({"labels": labels.tolist()}))


def _cub(root: Path) -> None:
    """The folder CUB_200_2011, with its 200 classes and its tables."""
    from psst.datamodules.cub import _CUBSource

    folder, images = root / "CUB_200_2011", []
    for c, name in enumerate(sorted(_CUBSource.classes("closer_look"))):
        for i in range(_IMAGES):
            images.append(f"{name}/{i}.jpg")
            _put(folder / "images" / images[-1], 100 * c + i, 84)
    tables = {"images.txt": images, "bounding_boxes.txt": ["0.0 0.0 84.0 84.0"] * len(images)}
    for table, rows in tables.items():
        text = "".join(f"{number} {row}\n" for number, row in enumerate(rows, start=1))
        (folder / table).write_text(text, encoding="utf-8")


def _omniglot(root: Path) -> None:
    """The folder images_background, with all characters."""
    from psst.datamodules.omniglot import _published

    for c, (alphabet, character) in enumerate(sorted(_published())):
        for i in range(_IMAGES):
            name = f"{c:04}_{i + 1:02}.png"
            _put(root / "images_background" / alphabet / character / name, 100 * c + i, 28, 1)


_WRITERS: dict[str, Callable[[Path], None]] = {
    "MiniImageNet": _mini_imagenet,
    "CifarFS": _cifar,
    "TieredImageNet": _tiered,
    "CUB": _cub,
    "Omniglot": _omniglot,
}
