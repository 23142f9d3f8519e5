"""Peak memory of a training step beyond parameters and optimizer, beside the plain sum and TorchJD.

python benchmarks/memory.py --backbones conv4 resnet12 timm:resnet18 --sizes 32 --tasks 2 3

Each variant of `workload.py` makes three steps of separate views on its own model; the third is measured.
What counts is the most that is live at one time during that step - activations, gradients, what the method
carries from step to step, and temporaries inside operations - less parameters, buffers, the optimizer's state
and the batch, which all variants have alike. On a CPU every allocation and release of torch's allocator is
counted, from before the model is made (`torch.profiler`): exact, whatever the load of the machine; scratch
memory that oneDNN takes past the allocator is not in it. On a GPU it is `torch.cuda.max_memory_allocated`,
workspaces of cuDNN and cuBLAS included. The unit P is one copy of the shared gradients. Budgets are the plain
sum plus so many P; losses as callables must stay below the plain sum where the activations of a task outweigh
the m + 1 P that they are traded for.
"""

import argparse
import gc
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from workload import MAKERS, SUMMED, Run, Setting, chosen

NAMES = [
    SUMMED,
    "PSST",
    "PSST callables",
    "TorchJD backward, UPGrad",
    "TorchJD backward, MGDA, lean",
    "TorchJD mtl_backward, MGDA",
]
STEPS = 3


def allowed_copies(name: str, m: int, activations: float) -> int | None:
    """Copies of the shared gradients that a step may take on top of the plain sum; None: nothing promised.

    Args:
        name: Of the variant.
        m: Tasks.
        activations: Of one task, in copies of the shared gradients.
    """
    if not name.startswith("PSST"):
        return None
    return 0 if "callables" in name and activations > m + 1 else m + 1


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of their storages, each counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def held_alike(run: Run) -> int:
    """Bytes of what every variant holds: parameters, buffers, the optimizer's state, the batch."""
    state = [value for entry in run.optimizer.state.values() for value in entry.values()]
    batch = [tensor for part in run.batch for tensor in part]
    return bytes_of([*run.module.parameters(), *run.module.buffers(), *state, *batch])


def peak_on_cpu(setting: Setting, name: str) -> tuple[int, int]:
    """Largest number of bytes live during the last step beyond `held_alike`, and those of the unit P."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run = MAKERS[name](setting)
        for _ in range(STEPS - 1):
            run.step()
        gc.collect()
        with record_function("measured step"):
            run.step()
    events = sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    (begin,) = [event.start_ns() for event in events if event.name() == "measured step"]
    live = peak = 0
    for event in events:
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live) if event.start_ns() >= begin else live
    return peak - held_alike(run), bytes_of(run.module.backbone.parameters())


def peak_on_cuda(setting: Setting, name: str) -> tuple[int, int]:
    """The same, by the GPU's allocator, less what other runs have left."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    run = MAKERS[name](setting)
    for _ in range(STEPS - 1):
        run.step()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run.step()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    return peak - held_alike(run), bytes_of(run.module.backbone.parameters())


def measure(setting: Setting, names: list[str]) -> None:
    print(f"{setting}, {setting.device}:")
    summed, activations = 0, 0.0
    for name in names:
        try:
            beyond, unit = (peak_on_cuda if setting.device == "cuda" else peak_on_cpu)(setting, name)
        except ImportError as error:
            print(f"  ({name} left out: {error})")
            continue
        if name == SUMMED:
            summed = beyond
            activations = (beyond / unit - 1.0) / setting.n_tasks  # the last step's gradients are still held
            print(f"  P = {unit / 2**20:.2f} MiB, activations of a task about {activations:.1f} P")
        copies, verdict = allowed_copies(name, setting.n_tasks, activations), ""
        if copies is not None:
            verdict = f"{'PASS' if beyond <= summed + copies * unit else 'over'} (at most +{copies} P)"
        more = (beyond - summed) / unit
        columns = f"{beyond / 2**20:9.2f} MiB {beyond / unit:9.2f} P {more:+8.2f} P"
        print(f"  {name:29s} {columns}  x{beyond / summed:.3f}  {verdict}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["conv4", "resnet12", "timm:resnet18"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32])
    parser.add_argument("--tasks", type=int, nargs="+", choices=[2, 3], default=[2, 3])
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--query", type=int, default=15)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--only", nargs="+", default=None, help="variants whose name holds one of these words"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = chosen(NAMES, given.only)
    sizes = {"n_way": given.way, "n_shot": given.shot, "n_query": given.query, "device": given.device}
    for backbone in given.backbones:
        for size in given.sizes:
            for n_tasks in given.tasks:
                measure(Setting(backbone, size, n_tasks, **sizes), names)


if __name__ == "__main__":
    main()
