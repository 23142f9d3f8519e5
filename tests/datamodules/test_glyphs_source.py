import numpy as np
import pytest

from psst.datamodules.glyphs import GlyphSource
from psst.images import build_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(GlyphSource(), 28, tmp_path_factory.mktemp("cache"))


def test_classes_have_at_least_ten_typefaces_of_two_drawings(store):
    assert len(store.class_names) >= 380
    assert all(len(store.image_ids(i)) >= 20 for i in range(len(store.class_names)))
    assert store.image_shape == (1, 28, 28)
    assert store.groups == {}


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
    source = GlyphSource()
    records = source.scan()
    for i in (9000, 17, 4242):
        np.testing.assert_array_equal(source.decode(records[i], 28), store.images[i])


def test_more_drawings_keep_the_first_ones():
    source, records = GlyphSource(drawings=3), {r.reference for r in GlyphSource(drawings=3).scan()}
    assert records > {r.reference for r in GlyphSource(drawings=1).scan()}
    assert source.key(28) != GlyphSource().key(28)


def test_no_drawings_is_an_error():
    with pytest.raises(ValueError, match=r"data.init_args.drawings=0` must be at least 1"):
        GlyphSource(drawings=0)
