"""The m x m math of Pareto training: solver, coordinates, rays, subproblems and methods."""

from psst.pareto.coordinates import LossEMA as LossEMA
from psst.pareto.coordinates import centered_log as centered_log
from psst.pareto.methods.base import Method as Method
from psst.pareto.methods.base import StepState as StepState
from psst.pareto.methods.fixed_weights import FixedWeights as FixedWeights
from psst.pareto.methods.levels import Levels as Levels
from psst.pareto.methods.min_norm import MinNorm as MinNorm
from psst.pareto.methods.preference import Preference as Preference
from psst.pareto.methods.ray import Ray as Ray
from psst.pareto.methods.ray_method import RayMethod as RayMethod
from psst.pareto.methods.relative_weights import RelativeWeights as RelativeWeights
from psst.pareto.methods.tradeoff import Tradeoff as Tradeoff
from psst.pareto.ray_set import RaySet as RaySet
from psst.pareto.ray_set import das_dennis as das_dennis
from psst.pareto.rays import rays_between as rays_between
from psst.pareto.solver import Decision as Decision
from psst.pareto.solver import min_norm as min_norm
from psst.pareto.solver import nearest as nearest
from psst.pareto.trajectory import Trajectory as Trajectory
