"""TorchJD's balancers as methods, methods by name, one call for plain loops. TorchJD is imported on use."""

from psst.balancers.backward import weighted_backward
from psst.balancers.names import method_named
from psst.balancers.torch_jd import TorchJD

__all__ = ["TorchJD", "method_named", "weighted_backward"]
