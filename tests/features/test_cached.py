"""The tasks of images train on cached features, by the same code."""

import pytest
import torch

from psst.backbones import Setup
from psst.features import CachedBatch, FeatureCache
from psst.fewshot import PrototypicalHead
from psst.images.view import View
from psst.tasks import (
    Classes,
    Encode,
    Episodes,
    Episodic,
    FeatureReconstruction,
    GlobalClasses,
    Jigsaw,
    ManifoldMixup,
    PatchLocation,
    Preserve,
    RotatedClasses,
    Rotation,
    SelfDistillation,
    SimCLR,
    SupervisedContrastive,
)
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, main_for, make_batch

VIEWS = [*(View(turns=(turn,)) for turn in range(4)), View(crop=1), View(crop=2)]


def make_cache(n_rows, n_features=12):
    """Features in which a class, a turn and an image can be told, in half precision."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(n_rows, 1, n_features, generator=rng)
    views = 0.3 * torch.randn(len(VIEWS), n_features, generator=rng)
    return FeatureCache(
        (images + views + 0.1 * torch.randn(n_rows, 6, n_features, generator=rng)).half(), VIEWS
    )


@pytest.fixture
def batch():
    batch = make_batch()
    return make_batch(cls=CachedBatch, cache=make_cache(len(batch)))


@pytest.mark.parametrize("by_class", [False, True], ids=["episodes", "classes"])
def test_a_tiny_backbone_trains_with_every_task(batch, by_class):
    """Main and auxiliary losses fall; Preserve, at 0 first on the same view, is held while main falls."""
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    torch.nn.init.zeros_(setup.encoder.backbone.layer.weight)
    torch.nn.init.zeros_(setup.encoder.backbone.layer.bias)
    main = main_for(setup, by_class)
    setup = Setup(setup.encoder, setup.classes, main)
    kinds = [Rotation(), Rotation("all"), Rotation("quarter"), RotatedClasses(), Classes(), SimCLR()]
    kinds += [SupervisedContrastive(), SelfDistillation(), Episodes(PrototypicalHead())]
    kinds += [FeatureReconstruction(), *([ManifoldMixup()] if by_class else [])]
    others = {str(i): built(task, setup) for i, task in enumerate([*kinds, Preserve(), Preserve(crop=1)])}
    parameters = [*setup.encoder.parameters(), *main.parameters()]
    parameters += [one for task in others.values() for one in task.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    history = []
    for step in range(150):
        encode = Encode(setup.encoder, (0, "train", step))
        losses = {}
        for name, task in {"main": main, **others}.items():
            encode.begin(task.name)
            losses[name] = task.loss(batch, encode, torch.Generator().manual_seed(step))
        history.append({name: float(loss) for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    last = history[-1]
    for name, task in {"main": main, **others}.items():
        if isinstance(task, Preserve) and task.crop:
            assert 0 < last[name] < 1
        elif isinstance(task, Preserve):
            assert history[0][name] < 1e-6 < last[name] < 1
        else:
            assert last[name] < history[0][name]
        if (chance := task.chance(batch)) is not None:
            assert last[name] < chance


def test_features_are_those_of_the_view(batch):
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    encode, backbone = Encode(setup.encoder, (0, "train", 0)), setup.encoder.backbone
    turns = tuple(row % 4 for row in range(len(batch)))
    for view in (*VIEWS, View(turns=turns)):
        turned = [VIEWS.index(View(view.crop, (turn,))) for turn in view.turns]
        columns = turned if len(turned) > 1 else turned * len(batch)
        frozen = batch.cache.features[batch.ids, columns].float()
        assert torch.equal(encode.frozen(batch, view), frozen)
        assert torch.equal(encode(batch, view), backbone.adapted(frozen))
    assert encode(batch).dtype == torch.float32
    noisy = encode.features(encode.frozen(batch) + 0.1)
    torch.testing.assert_close(noisy, backbone.adapted(encode.frozen(batch) + 0.1))


def test_what_a_cache_cannot_give_is_refused_by_name(batch):
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    with pytest.raises(ValueError, match=r"no View\(crop=3, .*it holds View\(crop=0"):
        Encode(setup.encoder, (0,))(batch, View(crop=3))
    with pytest.raises(RuntimeError, match="cached features, no images; leave out tasks that make pictures"):
        laws.loss_of(built(PatchLocation(), setup), setup, batch)
    with pytest.raises(RuntimeError, match="cached features, no images; leave out tasks that make pictures"):
        laws.loss_of(built(Jigsaw(), setup), setup, batch)
    with pytest.raises(ValueError, match=r"must be \[n, V, D\] for 6 `views`"):
        FeatureCache(torch.rand(3, 2, 4), VIEWS)
    with pytest.raises(ValueError, match="list the four turns as four views"):
        FeatureCache(torch.rand(3, 1, 4), [View(turns=(0, 1, 2))])


def test_main_tasks_take_the_same_rows(batch):
    """The cache knows nothing of episodes and classes."""
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    for task in (Episodic(PrototypicalHead()), GlobalClasses(PrototypicalHead())):
        assert laws.loss_of(built(task, setup), setup, batch).isfinite()
