"""Every head keeps the laws of heads; one without a case here fails."""

import doctest

import pytest
import torch

import psst.fewshot
from psst.backbones import Conv4
from psst.components import describe, instantiate
from psst.fewshot import (
    CosineHead,
    FEATHead,
    Head,
    LaplacianShotHead,
    LogisticHead,
    MatchingHead,
    PrototypeRectificationHead,
    PrototypicalHead,
    RelationHead,
    RidgeHead,
    SimpleShotHead,
    SVMHead,
)
from tests import laws

HEADS = {
    PrototypicalHead: PrototypicalHead,
    CosineHead: CosineHead,
    MatchingHead: MatchingHead,
    RelationHead: lambda: RelationHead(hidden=8),
    RidgeHead: RidgeHead,
    SVMHead: SVMHead,
    FEATHead: lambda: FEATHead(temperature=4.0),
    SimpleShotHead: SimpleShotHead,
    LogisticHead: LogisticHead,
    PrototypeRectificationHead: PrototypeRectificationHead,
    LaplacianShotHead: LaplacianShotHead,
}
FORMS = {"cosine": lambda: PrototypicalHead("cosine"), "costly": lambda: SVMHead(cost=10.0)}
MAKE = pytest.mark.parametrize("make", [*HEADS.values(), *FORMS.values()], ids=[*map(str, HEADS), *FORMS])
WAY = 4


def built(make):
    torch.manual_seed(0)
    head = make()
    head.build(laws.setup_for(Conv4(hidden=8), (1, 16, 16), ("a", "b")))
    return head


def drawn(head, shot, noise=1.0, n_query=6):
    """Two episodes of four classes; without noise every image is its class's center."""
    rng = torch.Generator().manual_seed(0)
    shape = (8, 1, 1) if head.maps else (8,)
    labels = torch.arange(WAY).repeat(shot).expand(2, -1)
    query_labels = torch.arange(n_query).remainder(WAY).expand(2, -1)
    centers = torch.randn(WAY, *shape, generator=rng)
    support = centers[labels] + noise * torch.randn(*labels.shape, *shape, generator=rng)
    query = centers[query_labels] + noise * torch.randn(*query_labels.shape, *shape, generator=rng)
    return support, labels, query, query_labels


def test_every_head_joins_the_laws():
    laws.assert_all_join(psst.fewshot, Head, HEADS)


def test_a_head_without_a_case_fails():
    with pytest.raises(AssertionError, match="join no law"):
        laws.assert_all_join(psst.fewshot, Head, {})


@MAKE
@pytest.mark.parametrize("shot", [1, 3])
def test_heads_are_equivariant_and_treat_queries_as_they_say(make, shot):
    head = built(make)
    support, labels, query, _ = drawn(head, shot)
    laws.assert_head_is_equivariant(head, support, labels, query, WAY)
    laws.assert_head_treats_queries(head, support, labels, query, WAY)


@MAKE
def test_transductive_heads_and_only_they_say_so(make):
    head = built(make)
    support, labels, query, _ = drawn(head, 3)
    together = head(support, labels, query, WAY)
    alone = head(support, labels, query[:, :1], WAY)
    assert torch.allclose(alone, together[:, :1], rtol=1e-4, atol=1e-4) != head.transductive


@MAKE
@pytest.mark.parametrize("shot", [1, 3])
def test_the_loss_reaches_features_and_parameters(make, shot):
    head = built(make)
    support, labels, query, query_labels = drawn(head, shot)
    support.requires_grad_()
    query.requires_grad_()
    loss, logits = head.loss(support, labels, query, query_labels, WAY)
    torch.testing.assert_close(logits, head(support, labels, query, WAY))
    for one in (support, query):
        assert torch.autograd.grad(loss, one, retain_graph=True)[0].any()
    laws.assert_gradient_reaches(loss, [support, query, *head.parameters()])


@MAKE
def test_images_at_their_class_centers_are_recognized(make):
    head = built(make)
    if isinstance(head, RelationHead | FEATHead):
        pytest.skip("has to learn first")
    support, labels, query, query_labels = drawn(head, 2, noise=0.0, n_query=8)
    assert torch.equal(head(support, labels, query, WAY).argmax(dim=2), query_labels)


@MAKE
def test_half_precision_features_are_compared_in_float32(make):
    head = built(make)
    support, labels, query, _ = drawn(head, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(support.bfloat16(), labels, query.bfloat16(), WAY)
    if not head.maps:  # the convolutions of a relation module are what mixed precision is for
        assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@MAKE
def test_a_head_is_rebuilt_from_its_description(make):
    head = built(make)
    again = instantiate(describe(head), Head)
    again.build(laws.setup_for(Conv4(hidden=8), (1, 16, 16), ("a", "b")))
    again.load_state_dict(head.state_dict())
    support, labels, query, _ = drawn(head, 3)
    assert torch.equal(again(support, labels, query, WAY), head(support, labels, query, WAY))


@pytest.mark.parametrize(
    "kind", [kind for kind in HEADS if kind not in (RelationHead, FEATHead)]
)  # need layers
def test_the_example_of_a_head_runs(kind):
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, globs={"torch": torch, kind.__name__: kind})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CosineHead(scale=0), "`scale=0` must be above 0"),
        (lambda: MatchingHead(scale=-1), "`scale=-1` must be above 0"),
        (lambda: RelationHead(hidden=0), "`hidden=0` must be at least 1"),
        (lambda: RidgeHead(penalty=0), "`penalty=0` must be above 0"),
        (lambda: SVMHead(cost=0), "`cost=0` must be above 0"),
        (lambda: LogisticHead(cost=0), "`cost=0` must be above 0"),
        (lambda: FEATHead(temperature=0), "`temperature=0` must be above 0"),
        (lambda: FEATHead(balance=-1), "`balance=-1` must be at least 0"),
        (lambda: PrototypeRectificationHead(scale=0), "`scale=0` must be above 0"),
        (lambda: LaplacianShotHead(neighbors=0), "`neighbors=0` and `steps=20` must be at least 1"),
        (lambda: LaplacianShotHead(smoothness=-1), "`smoothness=-1` must be at least 0"),
    ],
)
def test_wrong_arguments_are_named_with_their_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
