"""The tasks of images train on cached features, by the same code."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from psst.backbones import Setup
from psst.features import CachedBatch, FeatureCache, FeatureViews
from psst.fewshot import PrototypicalHead
from psst.images.view import UPRIGHT, View
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

VIEWS = FeatureViews(crops=3, turned=1).columns([View()], turns=True)


def make_cache(n_rows, n_features=12):
    """Features in which a class, a turn and an image can be told, in half precision."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(n_rows, 1, n_features, generator=rng)
    views = 0.3 * torch.randn(len(VIEWS), n_features, generator=rng)
    return FeatureCache(
        (images + views + 0.1 * torch.randn(n_rows, len(VIEWS), n_features, generator=rng)).half(), VIEWS
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


def place_of(batch, features):
    """The view that each row shows, told by its features."""
    held = batch.cache.features[batch.ids].float()
    return [VIEWS[int((row == each).all(dim=1).nonzero())] for row, each in zip(features, held, strict=True)]


def test_what_rows_show_is_what_the_view_says(batch):
    shown = place_of(batch, batch.features(View()))
    assert {(view.crop, view.turns) for view in shown} <= {(crop, (0,)) for crop in (UPRIGHT, 0, 1, 2)}
    assert len(set(shown)) > 1
    first, second, third = (place_of(batch, batch.features(View(crop=crop))) for crop in (1, 2, 3))
    for views in zip(first, second, third, strict=True):
        assert {view.crop for view in views} == {0, 1, 2}
    turns = tuple(row % 4 for row in range(len(batch)))
    for row, view in enumerate(place_of(batch, batch.features(View(turns=turns)))):
        assert view.turns == (turns[row],)
        turned = shown[row].crop in (UPRIGHT, 0)  # the others are upright only
        assert view.crop == shown[row].crop if turned or not turns[row] else view.crop in (UPRIGHT, 0)
    assert set(place_of(batch, batch.features(View(UPRIGHT)))) == {View(UPRIGHT)}
    assert set(place_of(batch, batch.features(View(UPRIGHT, (3,))))) == {View(UPRIGHT, (3,))}
    assert {view.crop for view in place_of(batch, batch.features(View(crop=2, turns=(1,))))} == {0}


def test_in_other_splits_crop_0_is_the_upright_image(batch):
    other = replace(batch, policies=replace(batch.policies, split="val"))
    assert set(place_of(other, other.features(View()))) == {View(UPRIGHT)}
    assert {view.crop for view in place_of(other, other.features(View(crop=1)))} == {0, 1, 2}


@pytest.mark.parametrize("view", [View(), View(crop=2), View(UPRIGHT), View(turns=tuple(range(25)))])
def test_the_same_view_of_the_same_batch_is_the_same_whoever_asks(batch, view):
    """Row by row: after `take`, in a new batch, whatever was asked before; another batch draws anew."""
    whole = batch.features(view)
    for rows in (range(3, 11), range(0, 20, 3), torch.tensor([4, 0, 17])):
        again = make_batch(cls=CachedBatch, cache=batch.cache)
        again.features(View(crop=1))
        assert torch.equal(again.take(rows).features(view.of_rows([int(row) for row in rows])), whole[rows])
        assert torch.equal(again.features(view), whole)
    fewer = replace(batch, ids=batch.ids[:24], labels=batch.labels[:24], n_unlabeled=2)
    rows = range(22)  # those with labels do not depend on how many have none
    assert torch.equal(fewer.take(rows).features(view.of_rows(rows)), whole[:22])
    if view.crop != UPRIGHT:
        assert not torch.equal(replace(batch, index=8).features(view), whole)


def test_every_view_is_drawn_as_often(batch):
    """Shares of 4 pictures in 400 batches of 25 rows: within 5 standard deviations of 1/4."""
    shown = [place_of(b, b.features(View())) for b in (replace(batch, index=i) for i in range(400))]
    counts = Counter(view for views in shown for view in views)
    n = sum(counts.values())
    assert len(counts) == 4
    assert all(abs(count / n - 1 / 4) < 5 * (3 / 16 / n) ** 0.5 for count in counts.values())


def test_features_go_through_the_trained_part(batch):
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    encode, backbone = Encode(setup.encoder, (0, "train", 0)), setup.encoder.backbone
    for view in (View(), View(crop=1), View(UPRIGHT, (2,))):
        assert torch.equal(encode.frozen(batch, view), batch.features(view))
        assert torch.equal(encode(batch, view), backbone.adapted(batch.features(view)))
    assert encode(batch).dtype == torch.float32
    noisy = encode.features(encode.frozen(batch) + 0.1)
    torch.testing.assert_close(noisy, backbone.adapted(encode.frozen(batch) + 0.1))


def test_what_a_cache_cannot_give_is_refused_by_name(batch):
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    with pytest.raises(ValueError, match=r"`data.init_args.features.crops=3` are cached, .* asks for 4"):
        batch.features(View(crop=4))
    with pytest.raises(ValueError, match=r"`data.init_args.features.crops=1` .* asks for 2 .* `main`"):
        FeatureViews(crops=1).columns([View(crop=2)], turns=False)
    upright = make_batch(cls=CachedBatch, cache=FeatureCache(torch.rand(25, 1, 4), [View(UPRIGHT)]))
    with pytest.raises(ValueError, match=r"no quarter turns; .* `turned = True`"):
        upright.features(View(turns=(1,)))
    with pytest.raises(RuntimeError, match="cached features, no images; leave out tasks that make pictures"):
        laws.loss_of(built(PatchLocation(), setup), setup, batch)
    with pytest.raises(RuntimeError, match="cached features, no images; leave out tasks that make pictures"):
        laws.loss_of(built(Jigsaw(), setup), setup, batch)
    with pytest.raises(ValueError, match=r"must be \[n, V, D\] for 10 `views`"):
        FeatureCache(torch.rand(3, 2, 4), VIEWS)
    with pytest.raises(ValueError, match="the first must be the upright image"):
        FeatureCache(torch.rand(3, 1, 4), [View()])
    with pytest.raises(ValueError, match=r"`data.init_args.features.turned=2` must be between 0 and `crops`"):
        FeatureViews(crops=1, turned=2)


def test_main_tasks_take_the_same_rows(batch):
    """The cache knows nothing of episodes and classes."""
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    for task in (Episodic(PrototypicalHead()), GlobalClasses(PrototypicalHead())):
        assert laws.loss_of(built(task, setup), setup, batch).isfinite()
