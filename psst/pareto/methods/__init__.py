"""How the weights of a step are decided: one method a file."""

from psst.pareto.methods.base import Decision, Method, StepState
from psst.pareto.methods.fixed_weights import FixedWeights
from psst.pareto.methods.min_norm import MinNorm
from psst.pareto.methods.preference import Preference
from psst.pareto.methods.priority import Priority
from psst.pareto.methods.project import Project
from psst.pareto.methods.ray import Ray
from psst.pareto.methods.ray_method import RayMethod
from psst.pareto.methods.tradeoff import Tradeoff

__all__ = [
    "Decision",
    "FixedWeights",
    "Method",
    "MinNorm",
    "Preference",
    "Priority",
    "Project",
    "Ray",
    "RayMethod",
    "StepState",
    "Tradeoff",
]
