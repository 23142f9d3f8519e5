"""A training step of prototypical networks: psst beside easyfsl's and learn2learn's loops.

    python benchmarks/training.py --sizes 84 32

5-way 1-shot 15-query episodes of noise, held in memory by all; Conv-4 (ours, and learn2learn's own), Adam,
the same number of threads. `psst` is a run of a real Trainer on what ships; `psst auto` has `precision:
auto`. The others train as their documentation shows: a sampler of theirs in a DataLoader, forward,
cross-entropy, backward, step. Every way is a process of its own, and all take turns. Columns: with the C
library's own allocator, and with freed memory kept (`psst.process.begin_process`), which `psst` does by
itself. It runs in the environment of `make test-learn2learn` with easyfsl and pandas beside; what is missing
is left out and named.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

WAY, SHOT, QUERY = 5, 1, 15
CLASSES, EACH, WARM = 20, 20, 5
WAYS = ("psst", "psst auto", "easyfsl, our net", "learn2learn, our net", "learn2learn, its net")
LEAST = {84: (2.5, 4.5), 32: (1.7, 2.5)}

Steps = Iterator[None]


def pixels(size: int) -> np.ndarray:
    """Images ``[n, 3, size, size]`` of noise."""
    shape = (CLASSES * EACH, 3, size, size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


class InMemory(Dataset):
    """Float images and labels."""

    def __init__(self, size: int) -> None:
        self.images = torch.from_numpy(pixels(size)).float() / 255
        self.labels = [item // EACH for item in range(len(self.images))]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, int]:
        return self.images[item], self.labels[item]

    def get_labels(self) -> list[int]:
        """What easyfsl asks for."""
        return self.labels


def our_net(size: int) -> nn.Module:
    from psst.backbones import Conv4, Encoder

    encoder = Encoder(Conv4())
    encoder.build((3, size, size))
    return encoder


def psst_steps(size: int, count: int, precision: str) -> list[float]:
    """Seconds of the steps of a Trainer."""
    from pytorch_lightning import Callback

    from psst.backbones import Conv4
    from psst.datamodules import EpisodicDataModule
    from psst.episodes import Episodes
    from psst.fewshot import PrototypicalHead
    from psst.images import ImageRecord
    from psst.tasks import Episodic
    from psst.training import FewShotModule
    from psst.training.experiment import AutoTrainer

    class Clock(Callback):
        def __init__(self) -> None:
            self.at: list[float] = []

        def on_train_batch_end(self, *_: object) -> None:
            self.at.append(time.perf_counter())

    class Noise:
        """The same images; as many classes for validation and test, that nobody asks for."""

        name, channels = "noise", 3

        def key(self, size: int) -> dict[str, int]:
            return {"size": size}

        def scan(self) -> list[ImageRecord]:
            splits = ("train", "val", "test")
            rows = [(split, place) for split in splits for place in range(CLASSES * EACH)]
            return [ImageRecord(f"{split} {place // EACH}", split, place) for split, place in rows]

        def decode(self, record: ImageRecord, size: int) -> np.ndarray:
            return held[record.reference].transpose(1, 2, 0)

    class InStore(EpisodicDataModule):
        def source(self) -> Noise:
            return Noise()

    clock, held = Clock(), pixels(size)
    with tempfile.TemporaryDirectory() as folder:
        data = InStore(size=size, episodes=Episodes(WAY, SHOT, QUERY, per_epoch=count), cache_dir=folder)
        AutoTrainer(
            max_steps=count,
            precision=precision,
            accelerator="cpu",
            callbacks=[clock],
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        ).fit(FewShotModule(Conv4(), Episodic(PrototypicalHead())), data)
    return np.diff(clock.at).tolist()


def easyfsl_steps(size: int, count: int) -> Steps:
    """Train as its notebook on episodic training does."""
    if "__init__" not in vars(Sampler):  # its sampler hands an argument on that torch has dropped
        Sampler.__init__ = lambda self, data_source=None: None
    from easyfsl.methods import PrototypicalNetworks
    from easyfsl.samplers import TaskSampler

    data = InMemory(size)
    sampler = TaskSampler(data, WAY, SHOT, QUERY, count)
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    model = PrototypicalNetworks(our_net(size))
    optimizer, loss_of = torch.optim.Adam(model.parameters()), nn.CrossEntropyLoss()
    model.train()
    for support, support_labels, query, query_labels, _ in loader:
        optimizer.zero_grad()
        model.process_support_set(support, support_labels)
        loss = loss_of(model(query), query_labels)
        loss.backward()
        optimizer.step()
        loss.item()
        yield


def learn2learn_steps(size: int, count: int, net: Callable[[int], nn.Module]) -> Steps:
    """Train as its example of prototypical networks does."""
    import learn2learn as l2l

    data = l2l.data.MetaDataset(InMemory(size))
    kinds = l2l.data.transforms
    steps = [kinds.NWays(data, WAY), kinds.KShots(data, SHOT + QUERY), kinds.LoadData(data)]
    tasks = l2l.data.TaskDataset(data, [*steps, kinds.RemapLabels(data)], num_tasks=-1)
    model = net(size)
    optimizer, loader = torch.optim.Adam(model.parameters()), DataLoader(tasks)
    model.train()
    for _ in range(count):
        images, labels = (part.squeeze(0) for part in next(iter(loader)))
        order = torch.argsort(labels)
        features, labels = model(images[order]).flatten(1), labels[order]
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        chosen[torch.arange(WAY) * (SHOT + QUERY)] = True
        prototypes = features[chosen].reshape(WAY, SHOT, -1).mean(dim=1)
        distances = ((features[~chosen].unsqueeze(1) - prototypes.unsqueeze(0)) ** 2).sum(dim=2)
        loss = F.cross_entropy(-distances, labels[~chosen].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        yield


def its_net(size: int) -> nn.Module:
    import learn2learn as l2l

    return l2l.vision.models.CNN4Backbone()


def timed(way: str, size: int, count: int) -> list[float]:
    """Seconds of each step."""
    if way.startswith("psst"):
        return psst_steps(size, count, "auto" if way == "psst auto" else "32-true")
    if way.startswith("easyfsl"):
        steps = easyfsl_steps(size, count)
    else:
        steps = learn2learn_steps(size, count, our_net if way.endswith("our net") else its_net)
    at = [time.perf_counter() for _ in steps]
    return np.diff(at).tolist()


def child(way: str, size: int, count: int, kept: bool, threads: int) -> None:
    """Print milliseconds of a step."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if kept:
        from psst.process import begin_process

        begin_process()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    print(json.dumps(1e3 * median(timed(way, size, count)[WARM:])))


def measured(way: str, size: int, count: int, kept: bool, threads: int) -> float | None:
    """A step of a process of its own; None where it does not run."""
    command = [sys.executable, __file__, "--child", way, "--sizes", str(size), "--steps", str(count)]
    command += ["--threads", str(threads), *(["--kept"] if kept else [])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TQDM_DISABLE": "1"})
    if done.returncode:
        print(f"left out: {way}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(done.stdout.strip().splitlines()[-1])


def table(size: int, given: argparse.Namespace) -> bool:
    """Print a size's table; whether psst is within its budgets."""
    found: dict[tuple[str, bool], list[float]] = {}
    for _ in range(given.repeats):
        for way in WAYS:
            for kept in (True, False):
                value = measured(way, size, given.steps, kept, given.threads)
                if value is not None:
                    found.setdefault((way, kept), []).append(value)
    middle = {key: median(values) for key, values in found.items()}
    print(f"\n{size} px, {given.threads} threads | ms as it is | over psst | ms, memory kept | over psst")
    print("---|---|---|---|---")
    for way in [way for way in WAYS if (way, True) in middle]:
        ratios = [float(median(np.divide(found[way, kept], found["psst", True]))) for kept in (False, True)]
        cells = [
            f"{middle[way, kept]:.1f} | {ratio:.2f}"
            for kept, ratio in zip((False, True), ratios, strict=True)
        ]
        print(f"{way} | {' | '.join(cells)}")
    others = [way for way in WAYS if way.endswith("our net") and (way, False) in middle]
    wanted = zip(("psst", "psst auto"), LEAST.get(size, (0, 0)), strict=True)
    within = True
    for ours, least in wanted:
        for other in others:
            ratio = float(median(np.divide(found[other, False], found[ours, True])))
            within &= ratio >= least
            print(f"{other} over {ours}: {ratio:.2f}, at least {least}")
    return within


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[84, 32])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help="measure this way here")
    parser.add_argument("--kept", action="store_true")
    given = parser.parse_args()
    if given.child:
        child(given.child, given.sizes[0], given.steps, given.kept, given.threads)
        return 0
    within = [table(size, given) for size in given.sizes]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
