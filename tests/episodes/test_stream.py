import itertools
import multiprocessing
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from psst.episodes import (
    ClassStream,
    Episode,
    EpisodeLoader,
    EpisodeOrder,
    EpisodeSampler,
    EpisodeStream,
    ImageSplit,
    SplitOrder,
)
from psst.images import build_store
from tests.episodes.tiny_source import KINDS, SIZES, TinySource, digest, kind_of


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


class AllKinds(Dataset):
    """Item i holds a digest of batch i of every kind of stream: one loader tests them all."""

    def __init__(self, cache):
        self.streams = {kind: stream_of(kind, cache) for kind in KINDS}

    def __getitem__(self, item):
        return {kind: digest(stream[item]) for kind, stream in self.streams.items()}


def stream_of(kind, cache):
    data = kind_of(kind, cache)
    data.prepare_data()
    data.setup()
    return data.train_dataloader().dataset


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="module")
def expected(cache):
    """Batches 0 to 3 and 998 to 1001, read here and one by one."""
    kinds = AllKinds(cache)
    return {item: kinds[item] for item in (*range(4), *range(998, 1002))}


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 4 worker processes"
)  # on a machine with 2 cores
@pytest.mark.parametrize(
    ("workers", "context", "n_ranks"),
    [
        *[(0, None, 1), (0, None, 2), (1, "fork", 1), (4, "fork", 2), (1, "spawn", 1)],
        *[pytest.param(*rest, marks=pytest.mark.slow) for rest in [(4, "spawn", 1), (1, "spawn", 2)]],
        *[pytest.param(*rest, marks=pytest.mark.slow) for rest in [(4, "fork", 1), (1, "fork", 2)]],
    ],
)
def test_every_stream_is_the_same_with_any_workers_and_ranks(cache, expected, workers, context, n_ranks):
    """A run from the start, and one resumed at the 998th batch; the ranks' parts are taken together."""
    found = {}
    for rank in range(n_ranks):
        firsts = iter([0, 998])
        loader = EpisodeLoader(
            AllKinds(cache),
            batch_size=None,
            sampler=EpisodeOrder(lambda firsts=firsts: next(firsts), 4 // n_ranks, rank, n_ranks),
            num_workers=workers,
            multiprocessing_context=context and multiprocessing.get_context(context),
            persistent_workers=workers > 0,
        )
        for first in (0, 998):
            found |= dict(zip(range(first + rank, first + 4, n_ranks), loader, strict=True))
    assert found == expected


def test_streams_tell_batches_apart(expected):
    for kind in KINDS:
        assert len({batch[kind] for batch in expected.values()}) == len(expected)


def test_batches_of_classes_are_passes_over_all_images(cache):
    stream = stream_of("classes", cache)
    store, n_images = stream.store, sum(SIZES["train"])
    batches = [stream[i] for i in range(n_images)]  # nine passes of 76 images, nine at a time
    ids = torch.cat([image_ids(batch.images) for batch in batches]).reshape(9, n_images)
    train = [i for c in store.splits["train"] for i in store.image_ids(c)]
    assert all(sorted(row.tolist()) == sorted(train) for row in ids)
    batch = batches[7]
    assert (len(batch), batch.index.tolist(), batch.images.shape) == (9, [7], (9, 3, 4, 4))
    classes = batch.class_ids[batch.labels]
    np.testing.assert_array_equal(classes, store.labels[image_ids(batch.images)])
    assert batch.class_ids.tolist() == store.splits["train"].tolist()
    with pytest.raises(ValueError, match="`batch_size=0`"):
        ClassStream(store, store.splits["train"], 0, key=1)


def test_unlabeled_images_come_beside_the_same_episodes(cache, store):
    with_them = stream_of("unlabeled", cache)
    without = EpisodeStream(with_them.store, with_them.sampler, 2)
    batches = [with_them[i] for i in range(6)]
    assert batches[0].unlabeled.shape == (2, 5, 3, 4, 4)
    drawn = torch.cat([image_ids(batch.unlabeled).flatten() for batch in batches])
    unlabeled = with_them.store.unlabeled.tolist()
    assert all(sorted(part.tolist()) == unlabeled for part in drawn.reshape(5, 12))  # no image is favored
    for i, batch in enumerate(batches):
        assert digest(replace(batch, unlabeled=None)) == digest(without[i])


def test_groups_keep_to_themselves_and_take_turns(cache):
    stream = stream_of("grouped", cache)
    groups = [set(ids.tolist()) for ids in stream.store.groups["train"].values()]
    counts = [0, 0]
    for i in range(200):
        classes = set(stream[i].class_ids.flatten().tolist())
        group = next(g for g, members in enumerate(groups) if classes <= members)
        assert len(classes) == min(3, len(groups[group]))
        counts[group] += 1
    assert abs(counts[0] - 100) < 5 * 200**0.5 / 2


def test_ranks_share_the_stream_without_gaps():
    parts = [list(EpisodeOrder(lambda: 10, length=4, rank=rank, n_ranks=3)) for rank in range(3)]
    assert sorted(itertools.chain(*parts)) == list(range(10, 22))
    assert parts[1] == [11, 14, 17, 20]


@pytest.mark.parametrize(("length", "n_ranks"), [(40, 1), (40, 2), (41, 2), (7, 5), (3, 3)])
def test_ranks_share_a_split_without_gaps_and_without_repeats(length, n_ranks):
    parts = [list(SplitOrder(length, rank, n_ranks)) for rank in range(n_ranks)]
    assert sorted(itertools.chain(*parts)) == list(range(length))
    assert [len(SplitOrder(length, rank, n_ranks)) for rank in range(n_ranks)] == [len(p) for p in parts]


def test_a_split_of_fewer_images_than_ranks_is_refused():
    with pytest.raises(ValueError, match=r"`trainer.devices` makes 4 processes, the split has 3 images"):
        SplitOrder(3, 0, 4)


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
    episode = replace(episode, unlabeled=episode.query[:, :2])
    moved = episode.to(torch.device("meta"), non_blocking=True)
    assert all(value.is_meta for value in vars(moved).values() if isinstance(value, torch.Tensor))
    assert moved.class_names == episode.class_names
    assert torch.equal(flat(pickle.loads(pickle.dumps(episode))), flat(episode))
