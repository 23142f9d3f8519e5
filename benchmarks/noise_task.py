r"""An auxiliary task of which nothing can be learned: does a search drop it at its first look?

    cd benchmarks
    for seed in 0 1 2 3 4; do
      for tasks in "" ", {class_path: noise_task.Noise}"; do
        psst search --config quickstart --trainer.max_steps 1250 --search.rivals '[plain]' \
          --data.init_args.augmentations.main psst.images.augment.Augmentation \
          --data.init_args.augmentations.main.init_args.resized_crop '[0.6, 1.0]' \
          --model.init_args.auxiliary "[{class_path: psst.tasks.Rotation}, {class_path: psst.tasks.Classes},
            {class_path: psst.tasks.SupervisedContrastive}$tasks]" \
          --seed_everything $seed --output "runs/noise-$seed${tasks:+-noise}"
      done
    done
    python noise_task.py runs/noise-?

The searches without noise are named; each has that with it beside.
"""

import json
import math
import sys
from pathlib import Path

import torch
from seeds import resampled
from torch import nn
from torch.nn import functional as F

from psst.tasks import Task

_LABELS = 4


class Noise(Task):
    """Tell labels that were drawn at random."""

    name = "noise"

    def build(self, setup):
        """Make the classifier."""
        self.classifier = nn.Linear(setup.num_features, _LABELS)

    def loss(self, batch, encode, draws):
        """Return the cross-entropy."""
        labels = torch.randint(_LABELS, (len(batch),), generator=draws)
        features = encode(batch)
        return F.cross_entropy(self.classifier(features), labels.to(features.device))

    def chance(self, batch):
        """Return log 4."""
        return math.log(_LABELS)


def main(folders: list[Path]) -> None:
    """Print where each search tried noise, and what was handed over with it minus without it."""
    pairs = []
    for folder in folders:
        other = folder.with_name(f"{folder.name}-noise")
        rows = json.loads((other / "front.json").read_text(encoding="utf-8"))
        looks = [row["look"] for row in rows if row["line"] == "search" and not row["members"]]
        tried = [row["look"] for row in rows if row["line"] == "search" and row.get("weight_noise")]
        fate = "not tried" if 1 not in tried else "dropped" if max(tried) == 1 else "kept"
        said = json.loads((other / "metrics.json").read_text(encoding="utf-8"))["tasks"]["noise"]
        print(f"{other.name}: {fate} at the first of {max(looks)} looks; {said}")
        pairs.append([handed_over(one) for one in (other, folder)])
    gaps, low, high = resampled(pairs)
    each = ", ".join(f"{gap:+.2f}" for gap in gaps)
    mean = f"{sum(gaps) / len(gaps):+.2f} ({low:+.2f} to {high:+.2f})"
    print(f"handed over, with noise minus without: {mean}; a seed: {each}")


def handed_over(folder: Path) -> Path:
    """The unit that a search has handed over."""
    rows = json.loads((folder / "front.json").read_text(encoding="utf-8"))
    return next(folder / "units" / row["unit"] for row in rows if row["handed_over"])


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
