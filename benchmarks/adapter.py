"""What caching frozen features costs over the encoder's forwards alone, and what a step on them takes.

python benchmarks/adapter.py --cache
python benchmarks/adapter.py --step

`--step` trains an adapter on main only by a real Trainer, as `psst search --config pretrained_adapter` does,
and holds a step against its matrix products alone, forward and backward.

For `--cache` images are noise of the size that the encoder reads, so that nothing is decoded or resized. Both
run in as many processes; times are of all of them on the CPU. Augmenting is measured apart and taken off.
"""

import argparse
import logging
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
from pytorch_lightning import Trainer

from psst.backbones import Adapted, Encoder
from psst.datamodules import EpisodicDataModule
from psst.episodes import Episodes, Evaluation, Policies
from psst.features import CachedBatch, FeatureCache, FeatureViews, build_features
from psst.features.build import _Chunks, _computed
from psst.fewshot import PrototypicalHead
from psst.images import ImageRecord
from psst.images.augment import Augmentation
from psst.images.build import build_store
from psst.images.view import View
from psst.process import begin_process
from psst.tasks import GlobalClasses
from psst.training import FewShotModule

BATCH = 96
BUDGET, READ_BUDGET, STEP_BUDGET = 1.15, 1.0, 2.0
CROPS = Augmentation(resized_crop=(0.35, 1.0), flip=True, brightness=0.4, contrast=0.4, saturation=0.4)


class Noise:
    """So many images of noise."""

    name, channels = "noise", 3

    def __init__(self, count: int) -> None:
        self.count = count

    def key(self, size: int) -> dict[str, int]:
        """What tells one from another."""
        return {"count": self.count}

    def scan(self) -> list[ImageRecord]:
        """Two classes a split."""
        splits = ("train", "train", "val", "val", "test", "test")
        return [ImageRecord(f"{i % 6}", splits[i % 6], i) for i in range(self.count)]

    def decode(self, record: ImageRecord, size: int) -> np.ndarray:
        """Noise by the number of the image."""
        coarse = np.random.default_rng(record.reference).integers(0, 256, (size // 8, size // 8, 3), np.uint8)
        return coarse.repeat(8, 0).repeat(8, 1)


class _Forwards(_Chunks):
    """The same forwards in as many processes, on images that are ready."""

    def __init__(self, chunks: _Chunks, images: torch.Tensor) -> None:
        vars(self).update(vars(chunks))
        self.images = images

    @torch.no_grad()
    def __getitem__(self, chunk: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            found = [self.encoder.backbone.frozen(self.images) for _ in self.views]
        return torch.stack(found, dim=1).half()

    def choose_precision(self) -> None:
        """It is chosen."""


def spent() -> float:
    """Seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def seconds(work: Callable[[], object]) -> float:
    """What a call takes on the CPU."""
    begun = spent()
    work()
    return spent() - begun


def cache(count: int, size: int, repeats: int) -> bool:
    """Print both figures; whether they are within their budgets."""
    torch.set_num_threads(1)
    encoder = Encoder(Adapted("efficientnet-lite0", input_size=size))
    encoder.build((3, size, size))
    policies = Policies({"main": CROPS})
    views = FeatureViews().columns([View()], turns=True)
    ratios, parts = [], []
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(Noise(count), size, folder)
        chunks = _Chunks(encoder, store, views, policies, torch.device("cpu"))
        chunks.choose_precision()
        pixels = torch.from_numpy(store.read(np.arange(32)))
        crops = [view for view in views if view.turns == (0,)]

        def augment() -> None:
            for chunk in range(len(chunks)):
                for view in crops:
                    chunks.policies.crop(pixels, view, chunk)

        forwards = _Forwards(chunks, encoder.normalized(pixels))

        for repeat in range(repeats):
            alone, augmenting = seconds(lambda: list(_computed(forwards, 0))), seconds(augment)
            whole = seconds(
                lambda at=f"{folder}/{repeat}": build_features(encoder, store, views, policies, at)
            )
            ratios.append((whole - augmenting) / alone)
            parts.append((alone, augmenting, whole))
        opened = FeatureCache.open(build_features(encoder, store, views, policies, f"{folder}/0"))
        rng = torch.Generator().manual_seed(0)
        times = []
        for index in range(200):
            ids = torch.randint(count, (96,), generator=rng)
            batch = CachedBatch(ids, torch.zeros(96), index, policies=policies, cache=opened)
            begun = time.perf_counter()
            batch.features(View())
            times.append(1e3 * (time.perf_counter() - begun))
    alone, augmenting, whole = (median(column) for column in zip(*parts, strict=True))
    precision = "bfloat16" if chunks.fast else "float32"
    print(f"{count} images of {size} x {size}, {len(views)} views, {precision}; seconds of the CPU")
    print(f"forwards alone {alone:.1f}  augmenting {augmenting:.1f}  build {whole:.1f}")
    print(f"(build - augmenting) / forwards {median(ratios):.3f}, at most {BUDGET}")
    print(f"96 rows of features in a step {median(times):.3f} ms, at most {READ_BUDGET}")
    return median(ratios) <= BUDGET and median(times) <= READ_BUDGET


class NoiseData(EpisodicDataModule):
    """The data module of that noise."""

    def source(self) -> Noise:
        """Six classes, as many images as a search on four minutes is promised for."""
        return Noise(2000)


def fitted(folder: str, steps: int) -> float:
    """Seconds of a fit."""
    torch.manual_seed(0)
    main = GlobalClasses(PrototypicalHead("cosine"))
    backbone = Adapted("efficientnet-lite0", input_size=32)
    adam = partial(torch.optim.AdamW, lr=1e-3, fused=True)
    module = FewShotModule(backbone, main, auxiliary=[], optimizer=adam)
    data = NoiseData(
        size=32,
        episodes=Episodes(way=2, query=2),
        evaluation=Evaluation(way=2, query=2),
        batches="classes",
        batch_size=BATCH,
        augmentations={"main": CROPS},
        cache_dir=folder,
        features=FeatureViews(),
    )
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", enable_model_summary=False, limit_val_batches=0, **quiet
    )
    return seconds(lambda: trainer.fit(module, datamodule=data))


def products(steps: int, width: int = 256, classes: int = 2) -> float:
    """Seconds of the matrix products of as many steps."""
    x, h, z, y = (torch.randn(BATCH, n) for n in (1280, width, 1280, classes))
    first, second, last = torch.randn(1280, width), torch.randn(width, 1280), torch.randn(1280, classes)

    def work() -> None:
        for _ in range(steps):
            _ = x @ first, h @ second, z @ last
            _ = x.T @ h, h.T @ z, z.T @ y
            _ = z @ second.T, y @ last.T

    return seconds(work)


def step(repeats: int) -> bool:
    """Print a step beside its matrix products; whether it is within its budget."""
    begin_process()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    ratios, parts = [], []
    with tempfile.TemporaryDirectory() as folder:
        fitted(folder, 10)  # builds the cache
        for _ in range(repeats):
            short, long = fitted(folder, 50), fitted(folder, 350)
            alone = products(300)
            ratios.append((long - short) / alone)
            parts.append(((long - short) / 300, alone / 300))
    whole, alone = (1e3 * median(column) for column in zip(*parts, strict=True))
    print(f"a step of {BATCH} features {whole:.2f} ms, its matrix products {alone:.2f} ms: ", end="")
    print(f"{median(ratios):.2f}, at most {STEP_BUDGET}")
    return median(ratios) <= STEP_BUDGET


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cache", action="store_true")
    what.add_argument("--step", action="store_true")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.step:
        raise SystemExit(not step(options.repeats))
    raise SystemExit(not cache(options.count, options.size, options.repeats))
