"""Small folders of real image files."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image


def put_image(path, size=8):
    """Write an image whose color comes from its name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    color = np.frombuffer(hashlib.blake2b(str(path.name).encode(), digest_size=3).digest(), np.uint8)
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(path.suffix.lower(), "PNG")
    Image.fromarray(np.broadcast_to(color, (size, size, 3)).copy()).save(path, kind)
    return path


def put_classes(root, names, images=3):
    """Write ``images`` images into ``root/name`` for each name."""
    for name in names:
        for i in range(images):
            put_image(Path(root) / name / f"{Path(name).name}_{i}.png")
    return Path(root)


def splits_of(records):
    """Return split -> class names of a scan."""
    found = {}
    for record in records:
        found.setdefault(record.split, {})[record.class_name] = None
    return {split: list(names) for split, names in found.items()}
