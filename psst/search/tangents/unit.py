"""The corrector of a tangent and its rival: ordinary units that go on from the middle of another's training.

Both repeat the end of the parent's training, on the same batches and the same part of the learning rate's
schedule, towards a ray between parent and neighbor. The corrector begins at the predicted parameters; the
rival at the parent's own, and has the steps that the tangent has cost on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer

from psst.files import atomic_path
from psst.pareto import RaySet
from psst.pareto.rays import paired_noise
from psst.search.checkpointing import BetweenBatches
from psst.search.explore import State
from psst.search.settings import SearchSettings
from psst.search.tangents.proposal import Proposal, Solution
from psst.search.units import Unit, ray_method

__all__ = ["Continuation", "KeepAt", "correction", "kept_checkpoint", "rays_through", "rival"]


class KeepAt(BetweenBatches):
    """Saves a whole checkpoint at some optimizer steps of a unit, from which others can go on.

    Args:
        steps: Optimizer steps, counted from the start of the warm start; below the unit's last.
        folder: The unit's.
    """

    def __init__(self, steps: Sequence[int], folder: Path) -> None:
        self.steps = set(steps)
        self.folder = folder

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save, once for each of the steps."""
        path = kept_checkpoint(self.folder, trainer.global_step)
        if trainer.global_step in self.steps and not path.is_file():
            self.save(trainer, path)


def kept_checkpoint(folder: Path, step: int) -> Path:
    """Where `KeepAt` saves."""
    return folder / f"step-{step}.ckpt"


@dataclass(frozen=True)
class Continuation:
    """A unit and the checkpoint it goes on from.

    Args:
        unit: To be trained like any other, from `checkpoint` instead of the warm start.
        checkpoint: In the unit's folder.
    """

    unit: Unit
    checkpoint: Path


def correction(
    proposal: Proposal,
    parent: Solution,
    neighbor: Solution,
    kept: Path,
    stop: int,
    folder: Path,
    settings: SearchSettings,
) -> Continuation:
    """Write what the corrector of an accepted proposal starts from, and return its unit.

    Args:
        proposal: Accepted.
        parent: Its parent.
        neighbor: Its neighbor.
        kept: The parent's checkpoint, as many steps before its end as the corrector is to take.
        stop: Last step of every unit, T.
        folder: The new unit's, which exists.
        settings: Of the search.
    """
    assert proposal.state is not None
    return _continuation(
        proposal.name,
        proposal.state,
        proposal.log_change,
        rays_through(parent, neighbor, proposal.place, _step_of(kept)),
        (kept, stop, folder, settings),
    )


def rival(
    parent: Solution,
    neighbor: Solution,
    place: float,
    kept: Path,
    stop: int,
    folder: Path,
    settings: SearchSettings,
) -> Continuation:
    """Write what a warm start on the neighboring ray starts from, without any tangent, and return its unit.

    Args:
        parent: Where it begins.
        neighbor: Towards which it goes.
        place: How far.
        kept: The parent's checkpoint, as many steps before its end as a tangent would have cost.
        stop: Last step of every unit, T.
        folder: The new unit's, which exists.
        settings: Of the search.
    """
    rays = rays_through(parent, neighbor, place, _step_of(kept))
    name = f"neighbor-{parent.name}-{neighbor.name}"
    return _continuation(name, parent.state, None, rays, (kept, stop, folder, settings))


def rays_through(parent: Solution, neighbor: Solution, place: float, first_step: int) -> RaySet:
    """Three rays of one gap: through the parent, between the two, and through the neighbor.

    Args:
        parent: With its trajectory.
        neighbor: Trained on the same batches.
        place: Of the middle ray, in (0, 1]; its prior is the geometric mean of the weights likewise.
        first_step: The rays move from there to the end as the two have moved.
    """
    ends = [solution.trajectory for solution in (parent, neighbor)]
    common = max(end.first_step for end in ends)
    whole = [end.centered[common - end.first_step :] for end in ends]
    steps = min(len(points) for points in whole)
    one, other = (points[max(first_step - common, 0) : steps] for points in whole)
    first, second = (np.maximum(end.weights, 1e-3) for end in ends)
    places = [0.0, place, 1.0]
    priors = [first ** (1.0 - share) * second**share for share in places]
    points = [(1.0 - share) * one + share * other for share in places]
    noise = paired_noise([whole[1][:steps] - whole[0][:steps]])
    return RaySet(np.stack(points), max(first_step, common), np.stack(priors), noise)


def _continuation(
    name: str,
    state: State,
    log_change: NDArray[np.float64] | None,
    rays: RaySet,
    place: tuple[Path, int, Path, SearchSettings],
) -> Continuation:
    kept, stop, folder, settings = place
    rays_file, start = folder / "rays.npz", folder / "start.ckpt"
    rays.save(rays_file)
    content = torch.load(kept, map_location="cpu", weights_only=True)
    content["state_dict"] = state
    memory = content["callbacks"].get("PSSTCallback")
    if memory is not None:
        memory["method"] = {"description": "", "state": {}}  # another ray: its counters begin anew
        if log_change is not None and memory["ema"]["mean"] is not None:
            memory["ema"]["mean"] = (np.array(memory["ema"]["mean"]) * np.exp(log_change)).tolist()
    with atomic_path(start) as temporary:
        torch.save(content, temporary)
    unit = Unit(name, "explored", ray_method(settings, str(rays_file), 1), int(content["global_step"]), stop)
    return Continuation(unit, start)


def _step_of(kept: Path) -> int:
    return int(kept.stem.removeprefix("step-"))
