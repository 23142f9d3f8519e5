"""How the weights of a step are decided: one method a file."""

from psst.pareto.methods.base import Decision, Method, StepState
from psst.pareto.methods.fixed_weights import FixedWeights
from psst.pareto.methods.levels import Levels
from psst.pareto.methods.min_norm import MinNorm
from psst.pareto.methods.preference import Preference
from psst.pareto.methods.ray import Ray
from psst.pareto.methods.ray_method import RayMethod
from psst.pareto.methods.relative_weights import RelativeWeights
from psst.pareto.methods.tradeoff import Tradeoff

__all__ = [
    "Decision",
    "FixedWeights",
    "Levels",
    "Method",
    "MinNorm",
    "Preference",
    "Ray",
    "RayMethod",
    "RelativeWeights",
    "StepState",
    "Tradeoff",
]
