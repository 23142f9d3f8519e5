"""A view is the same pictures, whoever asks for it and of which rows."""

import pytest
import torch

from psst.episodes import Policies
from psst.images.augment import Augmentation
from psst.images.view import UPRIGHT, View
from tests.tasks.batches import AUGMENTED, SHAPE, make_batch

STRONG = Policies({"main": Augmentation(padding=2), "strong": Augmentation(resized_crop=(0.3, 0.6))})


def turns_of(batch):
    return tuple(row % 4 for row in range(len(batch)))


@pytest.mark.parametrize("view", [View(), View(UPRIGHT), View(2), View(1, policy="strong"), "turned"])
@pytest.mark.parametrize("rows", [range(3, 20), torch.tensor([24, 0, 7, 19]), range(18, 22), range(0, 25, 3)])
def test_the_view_of_some_rows_is_some_rows_of_the_view(view, rows):
    batch = make_batch(STRONG)
    view = View(turns=turns_of(batch)) if view == "turned" else view
    places = torch.as_tensor(rows)
    part = batch.take(rows)
    assert torch.equal(part.images(view.of_rows(places.tolist())), batch.images(view)[places])
    nested = part.take(torch.tensor([2, 0])).take(range(1, 2))
    assert torch.equal(nested.images(view.of_rows([int(places[0])])), batch.images(view)[places[:1]])
    assert nested.ids.tolist() == batch.ids[places[:1]].tolist()


def test_views_are_keyed_by_the_batch_and_by_nothing_else():
    first, again, other = make_batch(STRONG), make_batch(STRONG), make_batch(STRONG, index=8)
    again.images(View(5))  # who asked for what before does not matter
    for view in (View(), View(1), View(1, policy="strong")):
        assert torch.equal(first.images(view), again.images(view))
        assert not torch.equal(first.images(view), other.images(view))
    crops = [first.images(view) for view in (View(), View(1), View(2), View(1, policy="strong"))]
    assert all(not torch.equal(a, b) for i, a in enumerate(crops) for b in crops[:i])


def test_unlabeled_rows_change_nothing_of_the_others():
    alone, beside = make_batch(n_unlabeled=0), make_batch(n_unlabeled=3)
    beside.pixels[: len(alone)] = alone.pixels
    assert torch.equal(beside.images()[: len(alone)], alone.images())


def test_turns_are_quarter_turns_of_the_same_crop():
    batch = make_batch()
    turned = batch.images(View(turns=turns_of(batch)))
    for row, picture in enumerate(batch.images()):
        assert torch.equal(turned[row], picture.rot90(row % 4, (-2, -1)))
    with pytest.raises(ValueError, match=r"`turns` has shape \[2\], 25 images need \[25\]"):
        batch.images(View(turns=(0, 1)))


def test_images_lie_between_0_and_1():
    batch = make_batch(Policies())
    torch.testing.assert_close(batch.images(), batch.pixels / 255)
    assert 0 <= float(make_batch().images().min()) <= float(make_batch().images().max()) <= 1


def test_views_that_are_the_same_picture_are_written_alike():
    evaluated = Policies(AUGMENTED.augmentations, split="val")
    assert Policies().resolved(View(3)) == AUGMENTED.resolved(View(UPRIGHT)) == View(UPRIGHT)
    assert evaluated.resolved(View()) == View(UPRIGHT)
    assert evaluated.resolved(View(1)) == View(1)
    assert AUGMENTED.resolved(View()) == View()
    with pytest.raises(KeyError, match="`policy=strong` names no augmentation of the data module"):
        AUGMENTED.resolved(View(policy="strong"))


def test_parts_of_a_mixed_batch():
    batch = make_batch()
    assert len(batch.episodes) == SHAPE.rows == 18
    assert (batch.episodes.shape, batch.classes.shape) == (SHAPE, None)
    assert torch.equal(torch.cat([batch.episodes.ids, batch.classes.ids, batch.unlabeled.ids]), batch.ids)
    assert torch.equal(batch.labeled.ids, batch.ids[:22])
    some = batch.take(torch.tensor([23, 0, 20]))
    assert (some.labeled.ids.tolist(), some.unlabeled.ids.tolist()) == (
        batch.ids[[0, 20]].tolist(),
        batch.ids[[23]].tolist(),
    )
    episodes = make_batch(n_classes=0, n_unlabeled=0)
    assert episodes.episodes is episodes is episodes.labeled
    assert episodes.classes is None is episodes.unlabeled


def test_a_batch_that_was_not_read_says_so():
    from dataclasses import replace

    with pytest.raises(RuntimeError, match="holds ids of images, not their pixels"):
        replace(make_batch(), pixels=None).images()


def test_a_view_is_written_in_one_way():
    assert View(turns=(4, 8)) == View(turns=(0,)) == View()
    assert View(turns=(1, 2, 5)).turns == (1, 2, 1)
    assert View(UPRIGHT, policy="strong") == View(UPRIGHT)
    assert View(turns=(0, 1, 2)).of_rows([2, 0]).turns == (2, 0)
    for options, words in (
        ({"crop": -2}, "`crop=-2`"),
        ({"turns": ()}, "must hold a number of quarter turns"),
    ):
        with pytest.raises(ValueError, match=words):
            View(**options)
