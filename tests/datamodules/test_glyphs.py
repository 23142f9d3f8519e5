import pytest

from psst.datamodules import Glyphs


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    data = Glyphs(
        drawings=1, size=12, n_query=5, eval_query=5, cache_dir=str(tmp_path_factory.mktemp("cache"))
    )
    data.prepare_data()
    data.setup("fit")
    return data


def test_image_shape_is_known_before_setup():
    assert Glyphs(size=20).image_shape == (1, 20, 20)


def test_scripts_of_the_test_split_are_pooled(glyphs):
    assert list(glyphs.episode_plan("test")) == ["all"]


def test_train_episodes_are_latin_letters_only(glyphs):
    episode = next(iter(glyphs.train_dataloader()))
    names = [glyphs.store.class_names[int(i)] for i in episode.class_ids.flatten()]
    assert len(names) == 5
    assert all(name.startswith("Latin/") for name in names)
