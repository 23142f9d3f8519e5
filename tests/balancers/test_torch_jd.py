"""TorchJD as a method: the weights are TorchJD's own, whatever it keeps survives a resume."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchjd import aggregation, scalarization
from torchjd.aggregation import Aggregator, Weighting
from torchjd.linalg import QuadprogProjector
from torchjd.scalarization import Scalarizer

from psst import balancers
from psst.balancers import TorchJD
from psst.balancers.torchjd_table import _REFUSED, ENTRIES
from psst.pareto import StepState
from psst.randomness import stream_key
from tests.balancers.cases import EPOCH, OPTIONS, PREFERENCE, M, every_name, made, run, states

VECTOR = torch.tensor(PREFERENCE, dtype=torch.float64)
STEPS = 8
ROUNDING = {"rtol": 1e-9, "atol": 1e-12}  # float64, the same operations

_WEIGHTINGS = {
    "AlignedMTL": lambda: aggregation.AlignedMTLWeighting(scale_mode="median"),
    "CAGrad": lambda: aggregation.CAGradWeighting(c=0.5),
    "Constant": lambda: aggregation.ConstantWeighting(VECTOR),
    "CRMOGM": lambda: aggregation.CRMOGMWeighting(aggregation.GradVacWeighting(beta=0.3), alpha=0.5),
    "DualProj": lambda: aggregation.DualProjWeighting(VECTOR),
    "FairGrad": lambda: aggregation.FairGradWeighting(alpha=1.0),
    "GradVac": lambda: aggregation.GradVacWeighting(),
    "IMTLG": lambda: aggregation.IMTLGWeighting(),
    "Krum": lambda: aggregation.KrumWeighting(n_byzantine=0),
    "Mean": lambda: aggregation.MeanWeighting(),
    "MGDA": lambda: aggregation.MGDAWeighting(),
    "PCD": lambda: aggregation.PCDWeighting(torch.tensor([0.1, 0.2], dtype=torch.float64)),
    "PCGrad": lambda: aggregation.PCGradWeighting(),
    "Random": lambda: aggregation.RandomWeighting(),
    "Sum": lambda: aggregation.SumWeighting(),
    "UPGrad": lambda: aggregation.UPGradWeighting(VECTOR, QuadprogProjector(reg_eps=1e-6)),
}
SCALARIZERS = {
    "COSMOS": lambda: scalarization.COSMOS(1.0, VECTOR),
    "DWA": lambda: scalarization.DWA(0.5),
    "FAMO": lambda: scalarization.FAMO(M, lr=0.1).double(),
    "GeometricMean": lambda: scalarization.GeometricMean(),
    "IMTLL": lambda: scalarization.IMTLL(M).double(),
    "PBI": lambda: scalarization.PBI(2.0, VECTOR),
    "STCH": lambda: scalarization.STCH(0.1),
    "UW": lambda: scalarization.UW(M).double(),
}
RANDOM = ["CRMOGM", "GradVac", "PCGrad", "Random"]


def raw(name: str) -> TorchJD:
    return made(name, normalize=False, learning_rate=0.05)


@pytest.mark.parametrize("name", _WEIGHTINGS)
def test_weights_are_those_of_torchjd_on_the_same_gramian(name):
    method, reference = raw(name), _WEIGHTINGS[name]()
    for number, state in enumerate(states(STEPS)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_key("torchjd", 0, number))
            expected = reference(torch.from_numpy(state.gramian)).numpy()
        np.testing.assert_allclose(method.decide(state).weights, expected, **ROUNDING)


@pytest.mark.parametrize("n_parameters", [2, 10])  # 2: linearly dependent gradients
def test_an_aggregator_without_a_weighting_gives_its_own_direction(n_parameters):
    rng, method, reference = np.random.default_rng(1), raw("ConFIG"), aggregation.ConFIG(VECTOR)
    for _ in range(4):
        jacobian = rng.standard_normal((M, n_parameters))
        state = StepState(jacobian @ jacobian.T, np.ones(M), np.zeros(M), 0)
        expected = reference(torch.from_numpy(jacobian)).numpy()
        # 1e-5: it sees the Gramian through another square root
        np.testing.assert_allclose(method.decide(state).weights @ jacobian, expected, rtol=1e-5, atol=1e-7)


def by_hand(name: str, steps: list[StepState]) -> np.ndarray:
    """The loop that TorchJD's documentation shows: scalarizer, backward, then whatever has to follow."""
    scalarizer, found = SCALARIZERS[name](), []
    learned = [] if name == "FAMO" else list(scalarizer.parameters())
    optimizer = torch.optim.Adam(learned, lr=0.05) if learned else None
    for number, state in enumerate(steps):
        losses = torch.tensor(state.losses, requires_grad=True)
        if name == "FAMO" and number > 0:
            scalarizer.update(losses)
        if name == "DWA" and number > 0 and number % EPOCH == 0:
            scalarizer.step()
        scalarizer(losses).backward()
        found.append(losses.grad.numpy())
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
    return np.stack(found)


@pytest.mark.parametrize("name", SCALARIZERS)
def test_weights_of_a_scalarizer_are_the_derivatives_of_its_value(name):
    steps = states(4 * EPOCH)
    np.testing.assert_allclose(run(raw(name), steps), by_hand(name, steps), **ROUNDING)


@pytest.mark.parametrize("name", ["Constant", "Mean", "Sum"])
def test_scalarizers_left_out_weigh_as_the_weighting_of_their_name(name):
    arguments = [VECTOR] if name == "Constant" else []
    losses = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    getattr(scalarization, name)(*arguments)(losses).backward()
    (state,) = states(1)
    np.testing.assert_allclose(raw(name).decide(state).weights, losses.grad.numpy(), **ROUNDING)


def test_uncertainty_weighting_learns_what_each_loss_is_worth():
    """At the optimum of UW, exp(-s_i) = 1 / L_i: normalized weights are inverse to the losses."""
    losses = np.array([4.0, 1.0, 0.25])
    method = TorchJD("UW", learning_rate=0.05)
    method.start(M)
    for step in range(2000):
        weights = method.decide(StepState(np.eye(M), losses, np.log(losses), step)).weights
    np.testing.assert_allclose(weights, (1 / losses) / (1 / losses).sum(), rtol=1e-3)  # Adam still swings


@every_name
def test_sizes_of_the_weights_sum_to_one(name):
    method, own = made(name), raw(name)
    for state in states(STEPS):
        decision, expected = method.decide(state), own.decide(state).weights
        assert decision.status == "optimal"
        assert decision.weights.dtype == np.float64
        np.testing.assert_allclose(np.abs(decision.weights).sum(), 1.0, rtol=1e-12)
        if name not in ("UW", "IMTLL"):  # `raw` has another learning rate
            np.testing.assert_allclose(decision.weights * np.abs(expected).sum(), expected, **ROUNDING)


def permuted(name: str, order: tuple[int, ...]) -> dict[str, object]:
    """The options with every vector of length m in another order, that of PCD's other tasks as well."""
    return {
        key: [value[i] for i in order]
        if isinstance(value, list) and len(value) == M
        else [value[i - 1] for i in order[1:]]
        if isinstance(value, list)
        else value
        for key, value in OPTIONS[name].items()
    }


@pytest.mark.parametrize(
    "name", [name for name in OPTIONS if name not in [*RANDOM, "Krum"]]
)  # random orders; Krum of three ties
def test_order_of_the_other_tasks_does_not_matter(name):
    order = (0, 2, 1)
    swapped = run(made(name, permuted(name, order)), states(STEPS, order))
    # 1e-5: the solvers of CAGrad and FairGrad stop at 1e-8 of their objective
    np.testing.assert_allclose(swapped, run(made(name), states(STEPS))[:, list(order)], rtol=1e-4, atol=1e-5)


@every_name
@pytest.mark.parametrize("cut", [1, EPOCH + 1, 2 * EPOCH])
def test_resumed_run_decides_as_the_whole_one(name, cut):
    steps = states(4 * EPOCH)
    whole, first = run(made(name), steps), made(name)
    run(first, steps[:cut])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    run(first, steps[cut:])  # what was saved is not touched
    file.seek(0)
    second = TorchJD(name, OPTIONS[name], epoch_steps=EPOCH)
    second.start(M)
    second.load_state_dict(torch.load(file, weights_only=True))
    np.testing.assert_array_equal(run(second, steps[cut:]), whole[cut:])


@pytest.mark.parametrize("name", RANDOM)
def test_draws_depend_on_the_seed_and_the_decision_alone(name):
    torch.manual_seed(1)
    first, before = run(made(name), states(STEPS)), torch.get_rng_state()
    torch.manual_seed(2)
    np.testing.assert_array_equal(run(made(name), states(STEPS)), first)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.get_rng_state(), before)  # nobody else's draws have moved
    assert not np.array_equal(run(made(name, seed=1), states(STEPS)), first)


@every_name
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_gramian_that_says_nothing_is_reported_and_leaves_the_state_alone(name, value):
    steps = states(5)
    bad = StepState(np.full((M, M), value), steps[2].losses, steps[2].log_losses, 2)
    method = made(name)
    if not method.needs_gramian:
        pytest.skip("looks at none")
    first = method.decide(bad)
    assert first.status == "skipped"
    np.testing.assert_allclose(first.weights, 1.0 / M)
    method = made(name)
    decisions = [method.decide(state) for state in [*steps[:2], bad, *steps[2:]]]
    assert decisions[2].status == "skipped"
    np.testing.assert_array_equal(decisions[2].weights, decisions[1].weights)
    others = [decision.weights for decision in decisions[:2] + decisions[3:]]
    np.testing.assert_array_equal(np.stack(others), run(made(name), steps))


def test_weights_that_all_vanish_stop_the_step():
    """CAGrad finds nothing to improve between opposed gradients; zero weights are no plain training."""
    opposed = np.array([[1.0, -1.0], [-1.0, 1.0]])
    method = TorchJD("CAGrad", {"c": 0.5})
    method.start(2)
    decision = method.decide(StepState(opposed, np.ones(2), np.zeros(2), 0))
    assert decision.status == "optimal"
    assert (decision.weights != 0.0).all()
    assert (torch.ones(2) * float(decision.weights[0]) == 0.0).all()


def test_a_solver_that_fails_costs_the_step_and_no_more():
    """No Gramian of real gradients is indefinite; this one stands for whatever quadprog refuses."""
    method = made("UPGrad")
    good, later = states(2)
    before = method.decide(good).weights
    indefinite = np.eye(M) + 5.0 * (1.0 - np.eye(M))
    decision = method.decide(StepState(indefinite, good.losses, good.log_losses, 1))
    assert decision.status == "skipped"
    np.testing.assert_array_equal(decision.weights, before)
    assert method.decide(later).status == "optimal"


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_a_loss_outside_a_scalarizers_domain(loss):
    losses = np.array([loss, 1.0, 2.0])
    state = StepState(np.eye(M), losses, np.zeros(M), 0)
    if loss < 0.0:
        with pytest.raises(ValueError, match="non-negative"):
            made("GeometricMean").decide(state)
    else:
        assert made("GeometricMean").decide(state).status == "skipped"
    assert made("UW").decide(state).status == "optimal"  # which asks for no ratios


def test_every_class_of_torchjd_is_offered_or_refused_with_a_reason():
    offered = {entry.kind for entry in ENTRIES.values()}
    names = set()
    for room, bases in ((aggregation, (Aggregator, Weighting)), (scalarization, (Scalarizer,))):
        for name in room.__all__:
            kind = getattr(room, name)
            base = kind.__module__.endswith("_bases") or kind.__module__.endswith("_base")
            if not base:
                assert issubclass(kind, bases)
                names.add(name.removesuffix("Weighting"))
    assert names == set(ENTRIES) | set(_REFUSED)
    assert not set(ENTRIES) & set(_REFUSED)
    assert set(OPTIONS) == set(ENTRIES)
    weightings = {name for name in aggregation.__all__ if name.endswith("Weighting")} - {"Weighting"}
    assert (
        weightings - {kind.__name__ for kind in offered}
        == {f"{name}Weighting" for name in _REFUSED} & weightings
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("UpGrad",), ["`name=UpGrad`", "UPGrad", "UW"]),
        (("GradDrop",), ["`name=GradDrop`", "coordinates"]),
        (("NashMTL",), ["`name=NashMTL`", "ECOS"]),
        (("UPGrad", {"preference": [1.0]}), ["`options` of UPGrad", "preference", "`pref_vector"]),
        (("CAGrad",), ["`options` of CAGrad", "'c'"]),
        (("UW", {"shape": 3}), ["`options` of UW", "`shape` is the number of tasks"]),
        (("STCH", {"mu": -1.0}), ["`options` of STCH", "-1.0", "`mu"]),
        (("CRMOGM", {"weighting": "UW"}), ["`options` of CRMOGM", "UW"]),
        (("CRMOGM", {"weighting": "Nothing"}), ["`options` of CRMOGM", "Nothing"]),
        (("UW", None, 0.0), ["`learning_rate=0.0`"]),
        (("DWA", None, 0.01, True, 0), ["`epoch_steps=0`"]),
    ],
)
def test_a_wrong_argument_is_refused_with_the_way_out(arguments, parts):
    with pytest.raises(ValueError, match="`") as error:
        TorchJD(*arguments)
    assert all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("UPGrad", {"pref_vector": [0.5, 0.5]}, "2"),
        ("STCH", {"mu": 1.0, "weights": [0.5, 0.5]}, r"\(2,\)"),
        ("PCD", {"tau": [0.1, 0.1, 0.1]}, "3"),
        ("Krum", {"n_byzantine": 1}, "4 rows"),
    ],
)
def test_options_of_another_number_of_tasks_are_refused_at_the_start(name, options, part):
    method = TorchJD(name, options)
    with pytest.raises(ValueError, match=f"`options` of {name} do not fit 3 tasks.*{part}"):
        method.start(M)


def test_one_file_imports_torchjd():
    folder = Path(balancers.__file__).parent
    importers = [path.name for path in folder.parent.rglob("*.py") if "torchjd import" in path.read_text()]
    assert importers == ["torchjd_table.py"]


@pytest.mark.slow
def test_torchjd_is_imported_when_a_balancer_is_made():
    code = (
        "import sys; from psst.balancers import TorchJD; assert not {'torchjd', 'cvxpy'} & set(sys.modules);"
        "TorchJD('Mean'); assert 'torchjd' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
