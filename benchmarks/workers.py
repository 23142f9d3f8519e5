"""Time of independent units with one worker process and with two, medians of interleaved repeats.

python benchmarks/workers.py [--repeats 3] [--steps 300]
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from psst.commands.search import silence
from psst.search.engines.process_pool import ProcessPool
from psst.search.engines.worker import packed
from psst.search.graph import Engine, Graph, Node
from psst.search.run import open_configured
from psst.search.settings import SearchSettings
from psst.search.units import Schedule
from psst.search.work import training
from psst.training.experiment import Experiment


def seconds(engine: Engine, folder: Path, steps: int, name: str) -> float:
    """Train four units from scratch that wait for nothing."""
    schedule = Schedule(SearchSettings(), steps, ["rotation"])
    graph = Graph(lambda work: None, lambda work, result: None, lambda work, reason: print(work.name, reason))
    for number, unit in enumerate(schedule.baselines[:4]):
        work = training(replace(unit, name=f"{name}-{number}"))
        graph.add(Node(work.name, (), lambda work=work: work))
    began = time.monotonic()
    graph.run(engine)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {"trainer.max_steps": options.steps, "data.init_args.cache_dir": str(folder / "cache")}
        experiment = Experiment.from_config("quickstart", changes, SearchSettings)
        experiment.datamodule().prepare_data()
        experiment.save(folder / "config.yaml")
        payload = packed(partial(open_configured, folder, silence, {}))
        pools = {slots: ProcessPool(payload, slots, 1, lambda: None) for slots in (1, 2)}
        times: dict[int, list[float]] = {1: [], 2: []}
        try:
            for slots, pool in pools.items():  # the first round starts processes and is not counted
                seconds(pool, folder, 20, f"start-{slots}")
            for repeat in range(options.repeats):
                for slots, pool in pools.items():
                    times[slots].append(seconds(pool, folder, options.steps, f"unit-{slots}-{repeat}"))
        finally:
            for pool in pools.values():
                pool.close()
    one, two = (statistics.median(values) for values in times.values())
    print(json.dumps({"one worker, s": one, "two workers, s": two, "ratio": two / one}, indent=1))


if __name__ == "__main__":
    main()
