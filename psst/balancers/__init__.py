"""Methods that adapt other libraries: TorchJD's balancers, and constraints for cvxpy.

Each library is imported when its method is used, not before.
"""

from psst.balancers.convex import Convex
from psst.balancers.torch_jd import TorchJD

__all__ = ["Convex", "TorchJD"]
