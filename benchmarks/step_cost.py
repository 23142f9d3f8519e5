"""What a Pareto step costs: ratios to the same forwards summed with one backward, beside TorchJD.

python benchmarks/step_cost.py --sizes 32 84 --repeats 40

Every variant runs one whole training step (forwards, backward, Adam) on its own copy of a Conv-4 with a
prototypical head and rotation tasks on separate views, 5-way 1-shot 15-query. Repeats are interleaved,
variants in turn; a ratio is the median over repeats of the variant's time over the baseline's in the same
repeat, with its quartiles.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchjd.aggregation import MGDA, Aggregator, Mean, UPGrad
from torchjd.autojac import backward, jac_to_grad, mtl_backward

from psst.backbones import Conv4
from psst.callbacks import PSSTCallback
from psst.fewshot import PrototypicalHead
from psst.pareto import FixedWeights

WAY, SHOT, QUERY = 5, 1, 15
Step = Callable[[], None]


class Episodic(pl.LightningModule):
    """Conv-4, a prototypical main task and ``n_tasks - 1`` rotation tasks, each with a forward of its own."""

    def __init__(self, size: int, n_tasks: int):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Conv4()
        self.backbone.build((3, size, size))
        self.head = PrototypicalHead()
        self.head.build(self.backbone.num_features)
        self.rotation = nn.ModuleList(nn.Linear(self.backbone.num_features, 4) for _ in range(n_tasks - 1))

    def features_and_losses(self, batch: list[Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """One forward a task."""
        images, views, turns, labels = batch
        features = self.backbone(images)
        support, query = features[: WAY * SHOT][None], features[WAY * SHOT :][None]
        logits = self.head(support, labels[None, : WAY * SHOT], query, WAY)
        losses = {"main": F.cross_entropy(logits[0], labels[WAY * SHOT :])}
        seen = [features]
        for index, head in enumerate(self.rotation):
            seen.append(self.backbone(views))
            losses[f"rotation_{index}"] = F.cross_entropy(head(seen[-1]), turns)
        return seen, losses

    def training_step(self, batch: list[Tensor], batch_idx: int) -> dict[str, object]:
        """By PSSTCallback's convention."""
        losses = self.features_and_losses(batch)[1]
        return {"loss": sum(losses.values()), "losses": losses}


def batch_of(size: int, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(WAY * (SHOT + QUERY), 3, size, size, generator=generator)
    turns = torch.randint(4, (len(images),), generator=generator)
    views = torch.stack([x.rot90(int(k), (1, 2)) for x, k in zip(images, turns, strict=True)])
    labels = torch.cat([torch.arange(WAY).repeat_interleave(n) for n in (SHOT, QUERY)])
    return [tensor.to(device) for tensor in (images, views, turns, labels)]


def lightning_step(module: Episodic, batch: list[Tensor], callback: PSSTCallback | None) -> Step:
    """What the fit loop does with ``training_step``, wrapped by the callback or not."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    if callback is not None:
        trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
        callback.setup(trainer, module, "fit")

    def step() -> None:
        loss = module.training_step(batch, 0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def torchjd_step(module: Episodic, batch: list[Tensor], aggregator: Aggregator, chunk: int | None) -> Step:
    """Jacobian of the losses by ``autojac.backward``; the rotation heads get their own gradient."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    shared, heads = list(module.backbone.parameters()), list(module.rotation.parameters())

    def step() -> None:
        losses = list(module.features_and_losses(batch)[1].values())
        optimizer.zero_grad()
        own = torch.autograd.grad(sum(losses[1:]), heads, retain_graph=True)  # stops at the features: cheap
        for parameter, gradient in zip(heads, own, strict=True):
            parameter.grad = gradient
        backward(losses, inputs=shared, parallel_chunk_size=chunk)
        jac_to_grad(shared, aggregator)
        optimizer.step()

    return step


def torchjd_mtl_step(module: Episodic, batch: list[Tensor], aggregator: Aggregator) -> Step:
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    shared = list(module.backbone.parameters())

    def step() -> None:
        features, losses = module.features_and_losses(batch)
        optimizer.zero_grad()
        tasks = [[], *[list(head.parameters()) for head in module.rotation]]
        mtl_backward(
            list(losses.values()), features, tasks_params=tasks, shared_params=shared, parallel_chunk_size=1
        )
        jac_to_grad(shared, aggregator)
        optimizer.step()

    return step


def variants(size: int, n_tasks: int, device: str, vmap: bool) -> dict[str, Step]:
    batch = batch_of(size, device)

    def module() -> Episodic:
        return Episodic(size, n_tasks).to(device)

    steps = {
        "summed, one backward": lightning_step(module(), batch, None),
        "PSST tradeoff": lightning_step(module(), batch, PSSTCallback(tradeoff=0.5, warmup_steps=0)),
        "PSST fixed weights": lightning_step(module(), batch, PSSTCallback(FixedWeights(0.3))),
        "TorchJD backward, chunk 1, Mean": torchjd_step(module(), batch, Mean(), 1),
        "TorchJD backward, chunk 1, MGDA": torchjd_step(module(), batch, MGDA(), 1),
        "TorchJD mtl_backward, chunk 1, MGDA": torchjd_mtl_step(module(), batch, MGDA()),
    }
    if vmap:
        steps["TorchJD backward, vmap, MGDA"] = torchjd_step(module(), batch, MGDA(), None)
    try:
        steps["TorchJD backward, chunk 1, UPGrad"] = torchjd_step(module(), batch, UPGrad(), 1)
    except ImportError as error:  # its solver is an extra of torchjd
        print(f"  (UPGrad left out: {error})")
    return steps


def timed(step: Step, device: str) -> float:
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(steps: dict[str, Step], repeats: int, device: str) -> dict[str, list[float]]:
    names = list(steps)
    times: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(-3, repeats):  # three to warm up
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            seconds = timed(steps[name], device)
            if repeat >= 0:
                times[name].append(seconds)
    return times


def report(times: dict[str, list[float]]) -> None:
    baseline = next(iter(times.values()))
    for name, seconds in times.items():
        ratios = sorted(a / b for a, b in zip(seconds, baseline, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        print(
            f"  {name:38s} {1e3 * median(seconds):8.2f} ms   x{median(ratios):.3f}  ({low:.3f} to {high:.3f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 84])
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--vmap", action="store_true", help="TorchJD's default too; slowest on a CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for size in arguments.sizes:
        setting = f"{arguments.device}, {arguments.threads} threads, {arguments.repeats} repeats"
        print(f"Conv-4 at {size} x {size}, m = {arguments.tasks}, {setting}:")
        steps = variants(size, arguments.tasks, arguments.device, arguments.vmap)
        report(measure(steps, arguments.repeats, arguments.device))


if __name__ == "__main__":
    main()
