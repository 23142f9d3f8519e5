"""Methods that adapt other libraries: TorchJD's balancers, and constraints for cvxpy; and methods by name.

Each library is imported when its method is used, not before.
"""

from psst.balancers.backward import weighted_backward
from psst.balancers.convex import Convex
from psst.balancers.names import method_named
from psst.balancers.torch_jd import TorchJD

__all__ = ["Convex", "TorchJD", "method_named", "weighted_backward"]
