"""Episodes a second over embedded images: 5-way 1-shot 15-query, nearest prototype.

    python benchmarks/evaluation.py

Prints one line for each length of features. Budget: 10,000 episodes in 5 s on 2 cores. CPU seconds are
printed beside, for a machine that is busy with something else.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from psst.episodes import EpisodeSampler, Evaluation
from psst.evaluation import evaluate_episodes
from psst.fewshot import PrototypicalHead

LENGTHS = {"Conv-4 at 28": 64, "Conv-4 at 32": 256, "ResNet-12": 640, "Conv-4 at 84": 1600}


def seconds(
    n_features: int, n_episodes: int, n_classes: int = 20, per_class: int = 600
) -> tuple[float, float, float]:
    features = torch.randn(n_classes * per_class, n_features, generator=torch.Generator().manual_seed(0))
    ids = np.split(np.arange(n_classes * per_class), n_classes)
    sampler = EpisodeSampler(dict(enumerate(ids)), Evaluation(5, 1, 15), key=0)
    began = time.perf_counter()
    sampler.draw(0, n_episodes)
    drawn, cpu = time.perf_counter(), time.process_time()
    evaluate_episodes(features, sampler, PrototypicalHead(), n_episodes)
    return time.perf_counter() - drawn, time.process_time() - cpu, drawn - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.episodes} episodes, {options.threads} threads, median of {options.repeats}")
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in LENGTHS}
    for _ in range(options.repeats):  # interleaved, so that a busy machine slows all alike
        for name, length in LENGTHS.items():
            times[name].append(seconds(length, options.episodes))
    for name, length in LENGTHS.items():
        whole, cpu, drawing = (statistics.median(column) for column in zip(*times[name], strict=True))
        rate = options.episodes / whole
        print(
            f"{name:14s} {length:5d} features: {whole:6.2f} s ({cpu:.2f} CPU s), {rate:.0f} episodes/s; "
            f"drawing alone {drawing:.2f} s"
        )


if __name__ == "__main__":
    main()
