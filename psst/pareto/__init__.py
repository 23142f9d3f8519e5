"""The m x m maths of Pareto training: solver, coordinates, rays, subproblems and methods."""

from psst.pareto.coordinates import LossEMA, centered_log, log_of_losses
from psst.pareto.hull import min_norm
from psst.pareto.methods import (
    Decision,
    FixedWeights,
    Levels,
    Method,
    MinNorm,
    Preference,
    Ray,
    RayMethod,
    RelativeWeights,
    StepState,
    Tradeoff,
)
from psst.pareto.ray_set import RaySet, das_dennis
from psst.pareto.rays import rays_between
from psst.pareto.solver import Solution, nearest
from psst.pareto.trajectory import Trajectory

__all__ = [
    "Decision",
    "FixedWeights",
    "Levels",
    "LossEMA",
    "Method",
    "MinNorm",
    "Preference",
    "Ray",
    "RayMethod",
    "RaySet",
    "RelativeWeights",
    "Solution",
    "StepState",
    "Tradeoff",
    "Trajectory",
    "centered_log",
    "das_dennis",
    "log_of_losses",
    "min_norm",
    "nearest",
    "rays_between",
]
