import itertools
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from psst.episodes import Episode, EpisodeLoader, EpisodeOrder, EpisodeSampler, EpisodeStream, ImageSplit
from psst.images import build_store
from tests.episodes.tiny_source import SIZES, TinySource


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(TinySource(SIZES), 4, tmp_path_factory.mktemp("cache"), progress=False)


def make_stream(store, episodes_per_batch=1):
    classes = store.splits["train"]
    sampler = EpisodeSampler([store.image_ids(c) for c in classes], classes, 3, 2, 4, key=5)
    return EpisodeStream(store, sampler, episodes_per_batch)


def image_ids(pixels):
    """Read back what `TinySource.decode` painted."""
    corner = pixels[..., 0, 0].long()
    return corner[..., 0] + 256 * corner[..., -1]


def flat(episode: Episode):
    return torch.cat(
        [image_ids(episode.support), image_ids(episode.query), episode.class_ids, episode.index[:, None]], 1
    )


def test_an_episode_holds_the_drawn_images_class_by_class(store):
    stream = make_stream(store)
    episode, drawn = stream[11], stream.sampler.draw(11, 1)
    assert episode.support.shape == (1, 6, 3, 4, 4)
    assert episode.support.dtype == torch.uint8
    assert image_ids(episode.support)[0].tolist() == drawn.support[0].ravel().tolist()
    assert image_ids(episode.query)[0].tolist() == drawn.query[0].ravel().tolist()
    assert episode.support_labels.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert episode.query_labels.tolist() == [[0] * 4 + [1] * 4 + [2] * 4]
    labels = store.labels[image_ids(episode.query)[0]]
    np.testing.assert_array_equal(episode.class_ids[0][episode.query_labels[0]], labels)
    assert episode.class_names == [[store.class_names[i] for i in episode.class_ids[0]]]
    assert episode.index.tolist() == [11]
    assert (episode.n_way, len(episode)) == (3, 1)


def test_batches_of_several_episodes_hold_the_same_stream(store):
    single, batched = make_stream(store), make_stream(store, episodes_per_batch=4)
    rows = torch.cat([flat(single[i]) for i in range(8, 12)])
    assert torch.equal(flat(batched[2]), rows)
    with pytest.raises(ValueError, match="`episodes_per_batch=0`"):
        make_stream(store, 0)


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 4 worker processes"
)  # on a machine with 2 cores
@pytest.mark.parametrize(
    ("workers", "context"),
    [(1, "fork"), (4, "fork"), (1, "spawn"), pytest.param(4, "spawn", marks=pytest.mark.slow)],
)
def test_the_stream_is_the_same_with_any_workers(store, workers, context):
    expected = [flat(make_stream(store)[i]) for i in range(3, 12)]
    order = EpisodeOrder(lambda: 3, length=9)
    loader = EpisodeLoader(
        make_stream(store),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        multiprocessing_context=multiprocessing.get_context(context),
    )
    assert len(loader) == 9
    found = [flat(episode) for episode in loader]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_ranks_share_the_stream_without_gaps():
    parts = [list(EpisodeOrder(lambda: 10, length=4, rank=rank, n_ranks=3)) for rank in range(3)]
    assert sorted(itertools.chain(*parts)) == list(range(10, 22))
    assert parts[1] == [11, 14, 17, 20]


def test_the_order_asks_where_to_begin_at_every_pass():
    begin = iter([0, 4, 7])
    order = EpisodeOrder(lambda: next(begin), length=3)
    assert [list(order) for _ in range(3)] == [[0, 1, 2], [4, 5, 6], [7, 8, 9]]


def test_a_split_gives_every_image_once(store):
    split = ImageSplit(store, "val")
    batches = list(DataLoader(split, batch_size=16))
    ids = torch.cat([batch["image_id"] for batch in batches])
    assert ids.tolist() == [i for c in store.splits["val"] for i in store.image_ids(c)]
    assert torch.equal(image_ids(torch.cat([batch["image"] for batch in batches])), ids)
    np.testing.assert_array_equal(torch.cat([batch["label"] for batch in batches]), store.labels[ids])


def test_an_episode_moves_and_pickles_as_one(store):
    episode = make_stream(store)[0]
    moved = episode.to(torch.device("meta"), non_blocking=True)
    assert all(value.is_meta for value in vars(moved).values() if isinstance(value, torch.Tensor))
    assert moved.class_names == episode.class_names
    assert torch.equal(flat(pickle.loads(pickle.dumps(episode))), flat(episode))
