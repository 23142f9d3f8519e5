"""TorchJD's balancers as methods, methods by name, one call for plain loops. TorchJD is imported on use."""

from psst.balancers.backward import weighted_backward as weighted_backward
from psst.balancers.torch_jd import TorchJD as TorchJD
from psst.balancers.torch_jd import method_named as method_named
