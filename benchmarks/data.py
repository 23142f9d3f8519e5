"""What data cost beside decoding and beside a training step: ratios taken in one run.

python benchmarks/data.py                              # on JPEG files that it makes
python benchmarks/data.py --root PATH/TO/mini_imagenet # train.csv, val.csv, test.csv and images or tar files

prepare: building the store, all of it (listing, decoding, statistics, checksums, search for duplicates,
files on the disk), over decoding the same images with as many threads and dropping them.
feed: an episode of 5 ways, 1 shot and 15 queries from the store over decoding and stacking its 80 images.
step: reading and augmenting an episode at 32 x 32 over the whole step of Conv-4 of which they are part.

Repeats are interleaved, the two sides in turn; a ratio is the median over repeats, with its quartiles.
Preparing is timed by the clock (others on the same cores count: mind the load), the rest by the process's
own time where torch has one thread. The last column holds the ratio against its budget.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from workload import Setting, lightning

from psst.episodes import Episodes, Policies
from psst.episodes.stream import BatchStream, Reader, TrainingPlan
from psst.images import ImageRecord, ImageStore, build_store
from psst.images.augment import Augmentation
from psst.images.sources.folder import FolderSource

PREPARE, FEED, STEP = 1.2, 1 / 20, 0.05
WAY, SHOT, QUERY = 5, 1, 15
SMALL = 32
BATCH = 32  # images that a thread decodes at a time
AUGMENTATIONS = {
    "crop, flip": {"padding": 4, "flip": True},
    "crop, flip, color jitter": {
        "padding": 4,
        "flip": True,
        **dict.fromkeys(("brightness", "contrast", "saturation"), 0.4),
    },
}

Work = Callable[[], object]


def make_images(root: Path, n_images: int, side: int = 84) -> None:
    """Write progressive JPEG files of about 5 kB, as mini-ImageNet's are, and their csv files."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    classes = {"train": 12, "val": 4, "test": 4}
    per_class = max(SHOT + QUERY, n_images // sum(classes.values()))
    for split, n_classes in classes.items():
        lines = ["filename,label"]
        for i in range(n_classes * per_class):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
            noisy = np.clip(smooth + rng.normal(0, 10, (side, side, 1)), 0, 255).astype(np.uint8)
            name = f"{split}{i:06d}.jpg"
            Image.fromarray(noisy).save(root / "images" / name, quality=85, progressive=True)
            lines.append(f"{name},{split}{i // per_class}")
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")


def source_of(root: Path) -> FolderSource:
    return FolderSource(root, "benchmark", splits=root)


def decode_all(source: FolderSource, records: list[ImageRecord], size: int, workers: int) -> None:
    def decode(start: int) -> None:
        for record in records[start : start + BATCH]:
            source.decode(record, size)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, range(0, len(records), BATCH)))


def timed(work: Work, clock: Callable[[], Any]) -> Any:
    started = clock()
    work()
    return clock() - started


def interleaved(
    first: Work, second: Work, repeats: int, clock: Callable[[], Any], warm_up: int = 2
) -> tuple[list[Any], list[Any]]:
    """Times of both, in turn, each first every other time."""
    times: tuple[list[Any], list[Any]] = ([], [])
    for repeat in range(-warm_up, repeats):
        for side in (0, 1) if repeat % 2 else (1, 0):
            found = timed((first, second)[side], clock)
            if repeat >= 0:
                times[side].append(found)
    return times


def report(name: str, over: list[float], under: list[float], budget: float | None) -> None:
    ratios = sorted(a / b for a, b in zip(over, under, strict=True))
    low, middle, high = ratios[len(ratios) // 4], median(ratios), ratios[3 * len(ratios) // 4]
    verdict = "" if budget is None else f"{'PASS' if middle <= budget else 'over'} (at most {budget:.3f})"
    milliseconds = f"{1e3 * median(over):9.2f} ms / {1e3 * median(under):9.2f} ms"
    print(
        f"  {name:36s} {milliseconds}  {middle:.3f} ({low:.3f} to {high:.3f})  {verdict}".rstrip(), flush=True
    )


def fresh_store(root: Path, size: int, workers: int, cache: Path) -> ImageStore:
    """Build into a new folder of ``cache``."""
    return build_store(source_of(root), size, tempfile.mkdtemp(dir=cache), workers=workers)


def prepare(root: Path, size: int, workers: int, repeats: int, cache: Path) -> None:
    source = source_of(root)
    records = source.scan()
    stores: list[ImageStore] = []

    def build() -> None:
        stores.append(fresh_store(root, size, workers, cache))

    def clocks() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    times = interleaved(
        build, partial(decode_all, source, records, size, workers), repeats, clocks, warm_up=1
    )
    building, decoding = (np.array(side).T.tolist() for side in times)
    report(f"prepare {len(records)} images at {size}", building[0], decoding[0], PREPARE)
    report("  the same in CPU time", building[1], decoding[1], None)
    listing = [timed(source_of(root).scan, time.process_time) for _ in range(3)]
    print(
        f"    listing, on one core: {median(listing) / median(decoding[1]):.3f} of the CPU time of decoding"
    )
    held = sum(path.stat().st_size for path in stores[-1].folder.iterdir())
    given = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    print(f"    store {held / 2**20:.1f} MiB from {given / 2**20:.1f} MiB of files", flush=True)


def peak_memory() -> float:
    """MiB that this process has held at most at one time; what its parent held does not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def peak_growth(root: Path, size: int, workers: int, cache: Path | None) -> float:
    """MiB that preparing, or decoding alone, adds to the memory of a process, at most at one time."""
    before = peak_memory()
    if cache is None:
        source = source_of(root)
        decode_all(source, source.scan(), size, workers)
    else:
        fresh_store(root, size, workers, cache)
    return peak_memory() - before


def memory(root: Path, size: int, workers: int, cache: Path) -> None:
    if not Path("/proc/self/status").exists():
        return
    grown = []
    for where in (cache, None):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            grown.append(pool.submit(peak_growth, root, size, workers, where).result())
    print(f"    preparing adds at most {grown[0]:.0f} MiB of memory, decoding alone {grown[1]:.0f} MiB")


def stream_of(store: ImageStore, augmentation: Augmentation | None = None) -> BatchStream:
    policies = Policies({} if augmentation is None else {"main": augmentation})
    return BatchStream(
        Reader(store, policies), TrainingPlan("photos", "episodes", Episodes(WAY, SHOT, QUERY))
    )


def feed(root: Path, size: int, store: ImageStore, repeats: int, clock: Callable[[], float]) -> None:
    source, stream = source_of(root), stream_of(store)
    records = source.scan()  # in the order of the store
    here, there = count(), count()

    def decoded() -> Tensor:
        ids = stream.samplers[0].draw(next(there), 1).ids[0]
        images = np.stack([source.decode(records[i], size) for i in ids])
        return torch.from_numpy(images).movedim(-1, -3).contiguous()

    taken, made = interleaved(lambda: stream[next(here)], decoded, repeats, clock)
    report(f"feed an episode at {size}", taken, made, FEED)


def step(store: ImageStore, repeats: int, clock: Callable[[], float]) -> None:
    size = store.image_shape[-1]
    run = lightning(Setting("conv4", size, 1, n_way=WAY, n_shot=SHOT, n_query=QUERY), None)
    labels = run.batch[1]
    for name, options in AUGMENTATIONS.items():
        stream, index = stream_of(store, Augmentation(**options)), count()
        data, whole = [], []
        for repeat in range(-2, repeats):
            started = clock()
            images = stream[next(index)].images()
            read = clock()
            run.batch[:] = [[images], labels]
            run.step()
            if repeat >= 0:
                data.append(read - started)
                whole.append(clock() - started)
        report(f"step at {size}: read, {name}", data, whole, STEP)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, default=None, help="images of your own, by csv files")
    parser.add_argument("--images", type=int, default=4000, help="to make, without --root")
    parser.add_argument("--size", type=int, default=84)
    parser.add_argument("--repeats", type=int, default=100, help="of an episode and of a step")
    parser.add_argument("--builds", type=int, default=7, help="repeats of preparing")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads that decode")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in the training step")
    parser.add_argument("--only", nargs="+", choices=["prepare", "feed", "step"], default=None)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        root = given.root or cache / "made"
        if given.root is None:
            make_images(root, given.images)
        chosen = given.only or ["prepare", "feed", "step"]
        print(
            f"{given.workers} decoding threads, torch with {given.threads}; over / under, ratio:", flush=True
        )
        if "prepare" in chosen:
            prepare(root, given.size, given.workers, given.builds, cache)
            memory(root, given.size, given.workers, cache)
        if "feed" in chosen:
            feed(root, given.size, fresh_store(root, given.size, given.workers, cache), given.repeats, clock)
        if "step" in chosen:
            step(fresh_store(root, SMALL, given.workers, cache), given.repeats, clock)


if __name__ == "__main__":
    main()
