"""What a Pareto step costs: ratios to the same forwards summed with one backward, beside TorchJD.

python benchmarks/step_cost.py --backbones conv4 resnet12 timm:resnet18 --sizes 32 84 --tasks 2 3

Every variant runs one whole training step (forwards, backward, Adam) on a model of `workload.py`.
Repeats are interleaved, variants in turn; a ratio is the median over repeats of the variant's time over the
baseline's in the same repeat, with its quartiles. Times are those of the process on a CPU with one thread
(others on its core do not count), else by the clock, with the GPU waited for. On separate views a Pareto step
adds work that grows with the number of parameters and not with the batch, so that small batches overstate its
ratio: the second column of times gives what it adds. The last column holds the ratio against its budget.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from workload import SUMMED, Run, Setting, chosen, runs

ONE_PASS = ["PSST fixed weights", "PSST tradeoff", "PSST preference"]
NAMES = {
    "separate": [
        SUMMED,
        "PSST",
        *ONE_PASS,
        "PSST scope=last_block",
        "TorchJD backward, Mean",
        "TorchJD backward, MGDA",
        "TorchJD backward, UPGrad",
        "TorchJD backward, PCD",
        "TorchJD mtl_backward, MGDA",
    ],
    "shared": [
        SUMMED,
        "PSST",
        *ONE_PASS,
        "PSST scope=last_block",
        "TorchJD backward, MGDA",
        "TorchJD backward, UPGrad",
        "TorchJD mtl_backward, MGDA",
    ],
}
VMAP = "TorchJD backward, MGDA, vmap"

SEPARATE = {"cpu": 1.10, "cuda": 1.15}
SHARED = {2: 1.10, 8: 1.25}
"""One weighted pass of a shared forward, by m."""


def budget(setting: Setting, name: str) -> float | None:
    """The largest allowed ratio of a variant; None where nothing is promised."""
    if not name.startswith("PSST"):
        return None
    if setting.forward == "separate":
        return SEPARATE[setting.device]
    return SHARED.get(setting.n_tasks) if name in ONE_PASS else None


def clock_of(device: str) -> Callable[[], float]:
    """Seconds, once all work is done."""
    if device == "cuda":

        def synchronized() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return synchronized
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def measure(found: dict[str, Run], repeats: int, seconds: float, device: str) -> dict[str, list[float]]:
    """Interleaved times of each run: `repeats` of them, fewer (but three) once `seconds` have passed."""
    names, clock = list(found), clock_of(device)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    for repeat in range(-2, repeats):  # two to warm up
        if repeat >= 3 and time.perf_counter() > end:
            break
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            started = clock()
            found[name].step()
            if repeat >= 0:
                times[name].append(clock() - started)
    return times


def report(setting: Setting, times: dict[str, list[float]]) -> None:
    baseline = times[SUMMED]
    print(f"{setting}, {setting.device}, {torch.get_num_threads()} threads, {len(baseline)} repeats:")
    for name, found in times.items():
        ratios = sorted(a / b for a, b in zip(found, baseline, strict=True))
        more = median(a - b for a, b in zip(found, baseline, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        allowed, verdict = budget(setting, name), ""
        if allowed is not None:
            verdict = f"{'PASS' if median(ratios) <= allowed else 'over'} (at most {allowed:.2f})"
        times_in_ms = f"{1e3 * median(found):9.2f} ms {1e3 * more:+9.2f} ms"
        print(
            f"  {name:29s} {times_in_ms} x{median(ratios):.3f} ({low:.3f} to {high:.3f})  {verdict}".rstrip()
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["conv4", "resnet12", "timm:resnet18"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 84])
    parser.add_argument("--tasks", type=int, nargs="+", choices=[2, 3, 8], default=[2, 3, 8])
    parser.add_argument("--forwards", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--query", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=600.0, help="at most, for the repeats of one table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--only", nargs="+", default=None, help="variants whose name holds one of these words"
    )
    parser.add_argument("--vmap", action="store_true", help="TorchJD's default too; slowest on a CPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sizes = {"n_way": given.way, "n_shot": given.shot, "n_query": given.query, "device": given.device}
    for backbone in given.backbones:
        for size in given.sizes:
            for n_tasks in given.tasks:
                for forward in given.forwards:
                    setting = Setting(backbone, size, n_tasks, forward, **sizes)
                    names = chosen(NAMES[forward] + [VMAP] * given.vmap, given.only)
                    found = dict(runs(setting, names))
                    report(setting, measure(found, given.repeats, given.seconds, given.device))


if __name__ == "__main__":
    main()
