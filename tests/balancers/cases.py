"""Every balancer of TorchJD with options for three tasks, and steps to feed them with."""

import numpy as np
import pytest

from psst.balancers import TorchJD
from psst.pareto import StepState

M = 3
PREFERENCE = [0.2, 0.3, 0.5]

OPTIONS = {
    "AlignedMTL": {"scale_mode": "median"},
    "CAGrad": {"c": 0.5},
    "ConFIG": {"pref_vector": PREFERENCE},
    "Constant": {"weights": PREFERENCE},
    "CRMOGM": {"weighting": {"name": "GradVac", "options": {"beta": 0.3}}, "alpha": 0.5},
    "DualProj": {"pref_vector": PREFERENCE},
    "FairGrad": {"alpha": 1.0},
    "GradVac": {},
    "IMTLG": {},
    "Krum": {"n_byzantine": 0},
    "Mean": {},
    "MGDA": {},
    "PCD": {"tau": [0.1, 0.2]},
    "PCGrad": {},
    "Random": {},
    "Sum": {},
    "UPGrad": {"pref_vector": PREFERENCE, "projector": {"reg_eps": 1e-6}},
    "COSMOS": {"lambda_": 1.0, "weights": PREFERENCE},
    "DWA": {"temperature": 0.5},
    "FAMO": {"lr": 0.1},
    "GeometricMean": {},
    "IMTLL": {},
    "PBI": {"theta": 2.0, "weights": PREFERENCE},
    "STCH": {"mu": 0.1},
    "UW": {},
}
EPOCH = 3


every_name = pytest.mark.parametrize("name", OPTIONS)


def made(name: str, options: dict[str, object] | None = None, **settings: object) -> TorchJD:
    """Started for three tasks."""
    method = TorchJD(name, OPTIONS[name] if options is None else options, epoch_steps=EPOCH, **settings)
    method.start(M)
    return method


def states(n: int, order: tuple[int, ...] = (0, 1, 2), seed: int = 0) -> list[StepState]:
    """Gradients and losses that wander."""
    rng, take, found = np.random.default_rng(seed), list(order), []
    for step in range(n):
        jacobian = rng.standard_normal((M, 10))[take]
        losses = np.exp(0.3 * rng.standard_normal(M))[take]
        found.append(StepState(jacobian @ jacobian.T, losses, np.log(losses), step))
    return found


def run(method: TorchJD, steps: list[StepState]) -> np.ndarray:
    """``[steps, m]`` weights."""
    return np.stack([method.decide(state).weights for state in steps])
