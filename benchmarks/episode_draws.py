"""Time to say which images make up an episode: psst, learn2learn's TaskDataset, easyfsl's TaskSampler.

    python benchmarks/episode_draws.py

5-way 1-shot 15-query over 64 classes of 600 images; no image is read. Goal: psst takes at most 1/20 of the
others' time an episode. It runs where all three work: easyfsl 1.5.0 needs a torch whose Sampler
still takes `data_source`, learn2learn 0.2.0 a build of its own; whatever is missing is left out and named.
"""

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from torch.utils.data import Dataset

from psst.episodes import EpisodeSampler, Evaluation

CLASSES, PER_CLASS, WAY, SHOT, QUERY = 64, 600, 5, 1, 15


class Labels(Dataset):
    """Images that nobody looks at, with their classes."""

    def __len__(self):
        return CLASSES * PER_CLASS

    def __getitem__(self, item):
        return item, item // PER_CLASS

    def get_labels(self):
        """What easyfsl asks for."""
        return [item // PER_CLASS for item in range(len(self))]


def ours(at_once: int) -> Callable[[int], None]:
    ids = np.split(np.arange(CLASSES * PER_CLASS), CLASSES)
    sampler = EpisodeSampler(dict(enumerate(ids)), Evaluation(WAY, SHOT, QUERY), key=0)

    def draw(count: int) -> None:
        if at_once == 1:
            for item in range(count):
                sampler.batch(item, 1)
            return
        for start in range(0, count, at_once):
            sampler.draw(start, min(at_once, count - start))

    return draw


def learn2learn_draws(fused: bool) -> Callable[[int], None]:
    import learn2learn as l2l

    data = l2l.data.MetaDataset(Labels())
    transforms = l2l.data.transforms
    if fused:
        steps = [transforms.FusedNWaysKShots(data, n=WAY, k=SHOT + QUERY)]
    else:
        steps = [transforms.NWays(data, n=WAY), transforms.KShots(data, k=SHOT + QUERY)]
    tasks = l2l.data.TaskDataset(data, steps, num_tasks=-1)

    def draw(count: int) -> None:
        for _ in range(count):
            tasks.sample_task_description()

    return draw


def easyfsl_draws() -> Callable[[int], None]:
    from easyfsl.samplers import TaskSampler

    data = Labels()
    TaskSampler(data, WAY, SHOT, QUERY, 1)  # fails here if torch is too new

    def draw(count: int) -> None:
        sampler = TaskSampler(data, WAY, SHOT, QUERY, count)
        began = time.perf_counter()
        for _ in sampler:
            pass
        draw.took = time.perf_counter() - began  # its constructor lists the images of each class: not drawing

    return draw


CONTENDERS = {
    "psst, evaluation (500 at once)": lambda: ours(500),
    "psst, training (one by one)": lambda: ours(1),
    "learn2learn NWays, KShots": lambda: learn2learn_draws(fused=False),
    "learn2learn FusedNWaysKShots": lambda: learn2learn_draws(fused=True),
    "easyfsl TaskSampler": easyfsl_draws,
}


def microseconds(draw: Callable[[int], None], count: int) -> float:
    began = time.perf_counter()
    draw(count)
    return 1e6 * getattr(draw, "took", time.perf_counter() - began) / count


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    versions = [installed(package) for package in ("torch", "numpy", "learn2learn", "easyfsl")]
    print(f"Python {platform.python_version()}, {', '.join(versions)}; {platform.machine()}, one thread")
    print(f"{options.episodes} episodes, {options.repeats} interleaved repeats: median (least, most)")
    draws = {}
    for name, make in CONTENDERS.items():
        try:
            draws[name] = make()
            microseconds(draws[name], 50)
        except (ImportError, TypeError) as error:
            print(f"{name:30s} left out: {error}")
    times: dict[str, list[float]] = {name: [] for name in draws}
    for _ in range(options.repeats):
        for name, draw in draws.items():
            times[name].append(microseconds(draw, options.episodes))
    base = times["psst, evaluation (500 at once)"]
    for name, found in times.items():
        ratio = statistics.median(other / own for other, own in zip(found, base, strict=True))
        spread = f"({min(found):.1f}, {max(found):.1f})"
        print(
            f"{name:30s} {statistics.median(found):9.1f} us an episode {spread:18s} {ratio:8.1f} times psst's"
        )


if __name__ == "__main__":
    main()
