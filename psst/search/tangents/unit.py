"""The corrector of a tangent: an ordinary unit that goes on from the middle of another's training.

It repeats the end of the parent's training, on the same batches and the same part of the learning rate's
schedule, from the predicted parameters towards a ray between parent and neighbor.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from psst.pareto import RaySet
from psst.pareto.rays import paired_noise
from psst.search.explore import State
from psst.search.runner import save_content
from psst.search.settings import SearchSettings
from psst.search.tangents.search import Solution
from psst.search.units import Unit, ray_method


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


def continuation(
    name: str,
    state: State,
    rays: RaySet,
    kept: Path,
    stop: int,
    folder: Path,
    settings: SearchSettings,
    log_change: NDArray[np.float64] | None = None,
) -> tuple[Unit, Path]:
    """Write what a unit starts from that goes on with other parameters; return the unit and its checkpoint.

    It is kept on the middle one of `rays`. `kept` is a checkpoint of the training that it goes on with;
    `log_change` ``[m]`` says by how much the logs of the losses have changed with the parameters.
    """
    rays_file, start = folder / "rays.npz", folder / "start.ckpt"
    rays.save(rays_file)
    content = torch.load(kept, map_location="cpu", weights_only=True)
    content["state_dict"] = state
    memory = content["callbacks"].get("PSSTCallback")
    if memory is not None:
        memory["method"] = {"description": "", "state": {}}  # another ray: its counters begin anew
        if log_change is not None and memory["ema"]["mean"] is not None:
            memory["ema"]["mean"] = (np.array(memory["ema"]["mean"]) * np.exp(log_change)).tolist()
    save_content(content, start)
    unit = Unit(name, "explored", ray_method(settings, str(rays_file), 1), int(content["global_step"]), stop)
    return unit, start
