"""`psst.weighted_backward`: TorchJD's own backward, plain sums, adversaries; and methods by name."""

import numpy as np
import pytest
import torch
from torch import nn
from torchjd.aggregation import MGDA, Mean, UPGrad
from torchjd.autojac import jac_to_grad, mtl_backward

import psst
from psst.balancers import TorchJD, method_named
from psst.balancers.torchjd_table import ENTRIES
from psst.pareto import FixedWeights, MinNorm, Preference, RaySet, Tradeoff


def network(seed=0):
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh()).double()
    return trunk, nn.ModuleList(nn.Linear(4, 3).double() for _ in range(3))


def losses_of(trunk, heads, separate=False):
    x = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    features = trunk(x)
    read = [trunk(x.roll(k, 1)) if separate else features for k in range(len(heads))]
    return features, [
        (head(f) - k).square().mean() for k, (head, f) in enumerate(zip(heads, read, strict=True))
    ]


def gradients(*modules):
    return [p.grad.clone() for module in modules for p in module.parameters()]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (TorchJD("UPGrad", normalize=False), UPGrad()),
        (TorchJD("MGDA", normalize=False), MGDA()),
        (TorchJD("Mean", normalize=False), Mean()),
    ],
    ids=["UPGrad", "MGDA", "Mean"],
)
def test_it_gives_what_torchjd_gives(ours, theirs):
    (trunk, heads), (trunk2, heads2) = network(), network()
    psst.weighted_backward(losses_of(trunk, heads)[1], method=ours)
    features, losses = losses_of(trunk2, heads2)
    mtl_backward(losses, features=features)
    jac_to_grad(list(trunk2.parameters()), theirs)
    for one, other in zip(gradients(trunk, heads), gradients(trunk2, heads2), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("separate", [False, True])
def test_equal_weights_are_the_plain_sum_in_the_heads_and_a_third_of_it_in_the_trunk(separate):
    (trunk, heads), (trunk2, heads2) = network(), network()
    for _ in range(2):  # gradients are added up, as those of `backward` are
        weights = psst.weighted_backward(losses_of(trunk, heads, separate)[1], method=FixedWeights(1.0))
        sum(losses_of(trunk2, heads2, separate)[1]).backward()
    np.testing.assert_allclose(weights, 1 / 3)
    for one, other in zip(gradients(heads), gradients(heads2), strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(gradients(trunk), gradients(trunk2), strict=True):
        torch.testing.assert_close(3 * one, other)


def test_only_what_is_named_is_weighted():
    (trunk, heads), (trunk2, heads2) = network(), network()
    named = [trunk[0], trunk[2].weight]
    psst.weighted_backward(losses_of(trunk, heads)[1], shared=named, method=FixedWeights(0.0))
    losses = losses_of(trunk2, heads2)[1]
    main = torch.autograd.grad(losses[0], [*trunk2[0].parameters(), trunk2[2].weight], retain_graph=True)
    for parameter, expected in zip([*trunk[0].parameters(), trunk[2].weight], main, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
    sum(losses).backward()
    torch.testing.assert_close(trunk[2].bias.grad, trunk2[2].bias.grad)


def test_a_critic_with_two_losses_and_a_generator_in_one_loop():
    """Two optimizers, whose parameters get each their own gradient and nobody else's."""
    torch.manual_seed(0)
    generator, critic = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    of_critic, of_generator = (torch.optim.Adam(m.parameters(), lr=0.02) for m in (critic, generator))
    balance = TorchJD("UPGrad")
    for _ in range(200):
        real, noise = torch.randn(64, 2) + 3.0, torch.randn(64, 2)
        of_critic.zero_grad()
        of_generator.zero_grad()
        fake = generator(noise).detach()
        losses = {
            "real": nn.functional.softplus(-critic(real)).mean(),
            "fake": nn.functional.softplus(critic(fake)).mean(),
        }
        weights = psst.weighted_backward(losses, shared=critic, method=balance)
        assert all(p.grad is None or not p.grad.any() for p in generator.parameters())
        of_critic.step()
        nn.functional.softplus(-critic(generator(noise))).mean().backward()
        of_generator.step()
    assert weights.sum() == pytest.approx(1.0)
    assert (generator(torch.randn(500, 2)).mean(0) - 3.0).abs().max() < 1.0


def test_a_method_object_remembers_its_calls_and_a_name_does_not():
    trunk, heads = network()
    method = Preference(RaySet.from_losses(np.ones((1, 3))), 0)
    for calls in range(1, 4):
        psst.weighted_backward(losses_of(trunk, heads)[1], method=method)
        assert method.state_dict()["subproblem"]["watch"]["_count"] == calls
    named = [psst.weighted_backward(losses_of(trunk, heads)[1], method="min_norm") for _ in range(2)]
    np.testing.assert_array_equal(*named)


@pytest.mark.parametrize(
    ("losses", "arguments", "error", "message"),
    [
        ([torch.ones(())], {}, ValueError, r"`losses` must be two scalars or more"),
        ("losses", {}, ValueError, r"`losses` must be two scalars or more.*got 'losses'"),
        ({"a": torch.ones(2), "b": torch.ones(())}, {}, TypeError, r"`losses\['a'\]`.*shape \[2\]"),
        ({"a": 1.0, "b": torch.ones(())}, {}, TypeError, r"`losses\['a'\]`.*a float"),
        (None, {"method": "upgrat"}, ValueError, r"`method=upgrat`.*nearest is `upgrad`"),
        (None, {"method": UPGrad()}, TypeError, r"`method` must be a Method or a name.*UPGrad"),
        (None, {"shared": ["trunk"]}, TypeError, r"`shared` takes modules and parameters, found a str"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(losses, arguments, error, message):
    trunk, heads = network()
    with pytest.raises(error, match=message):
        psst.weighted_backward(losses_of(trunk, heads)[1] if losses is None else losses, **arguments)


def test_nothing_is_added_where_a_loss_is_not_finite():
    trunk, heads = network()
    losses = losses_of(trunk, heads)[1]
    with pytest.raises(ValueError, match=r"`losses\['loss 1'\]` is nan; nothing was added"):
        psst.weighted_backward([losses[0], losses[1] * torch.nan])
    assert all(p.grad is None for p in trunk.parameters())


def test_every_name_gives_a_method_or_says_what_it_needs():
    assert isinstance(method_named("min-norm"), MinNorm)
    assert isinstance(method_named("Tradeoff"), Tradeoff)
    for name in ENTRIES:
        try:
            assert method_named(name.lower()).name == name
        except ImportError as error:
            assert name in str(error)  # noqa: PT017 - an optional package of TorchJD's
        except ValueError as error:
            assert "`options` of" in str(error)  # noqa: PT017 - the other names need none
    with pytest.raises(ValueError, match="`method=ray` needs arguments; make a Ray"):
        method_named("ray")


def test_the_package_shows_its_doors():
    assert {"PSSTCallback", "weighted_backward", "search"} <= set(dir(psst))
    assert psst.PSSTCallback.__name__ == "PSSTCallback"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        psst.nothing  # noqa: B018 - it raises
