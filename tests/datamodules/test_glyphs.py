"""Glyphs: its store, what a drawing depends on, and episodes of it."""

import numpy as np
import pytest

from psst.datamodules.glyphs import Glyphs, _GlyphSource
from psst.episodes import Episodes, Evaluation

SIZE = 16


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    settings = {"episodes": Episodes(query=5), "evaluation": Evaluation(query=5)}
    data = Glyphs(size=SIZE, cache_dir=str(tmp_path_factory.mktemp("cache")), **settings)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def store(glyphs):
    return glyphs.store


def test_classes_have_at_least_ten_typefaces_of_two_drawings(store):
    assert len(store.class_names) >= 380
    assert all(len(store.image_ids(i)) >= 20 for i in range(len(store.class_names)))
    assert store.image_shape == (1, SIZE, SIZE)
    assert store.groups == {}
    assert store.duplicates == []


def test_scripts_do_not_cross_splits(store):
    scripts = {s: {store.class_names[i].split("/")[0] for i in ids} for s, ids in store.splits.items()}
    assert scripts == {"train": {"Latin"}, "val": {"Cyrillic"}, "test": {"Greek", "Armenian", "Georgian"}}


def test_ink_is_white_on_black_and_not_cut_off(store):
    images = np.asarray(store.images)[..., 0]
    assert (images.max(axis=(1, 2)) > 128).all()
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert (border.max(axis=1) < 255).mean() > 0.99
    assert (images.mean(axis=(1, 2)) < 128).all()


def test_drawings_of_a_class_differ(store):
    for class_id in (0, 100, 300):
        drawings = np.asarray(store.images[store.image_ids(class_id)])
        assert len(np.unique(drawings, axis=0)) == len(drawings)


def test_a_drawing_depends_on_nothing_but_itself(store):
    """Same pixels from a new source, in another order, in this thread."""
    source = _GlyphSource(2)
    records = source.scan()
    for i in (9000, 17, 4242):
        np.testing.assert_array_equal(source.decode(records[i], SIZE), store.images[i])


def test_more_drawings_keep_the_first_ones():
    source, records = _GlyphSource(drawings=3), {r.reference for r in _GlyphSource(drawings=3).scan()}
    assert records > {r.reference for r in _GlyphSource(drawings=1).scan()}
    assert source.key(28) != _GlyphSource(2).key(28)


def test_no_drawings_is_an_error():
    with pytest.raises(ValueError, match=r"data.init_args.drawings=0` must be at least 1"):
        Glyphs(drawings=0)


def test_image_shape_is_known_before_setup():
    assert Glyphs(size=20).image_shape == (1, 20, 20)


def test_scripts_of_the_test_split_are_pooled(glyphs):
    assert list(glyphs.episode_plan("test")) == ["all"]


def test_train_episodes_are_latin_letters_only(glyphs):
    batch = next(iter(glyphs.train_dataloader()))
    names = {glyphs.store.class_names[i] for i in glyphs.store.labels[batch.episodes.ids]}
    assert len(names) == 5
    assert all(name.startswith("Latin/") for name in names)
