import itertools
import multiprocessing
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from psst.episodes import Episodes, EpisodeShape, Policies
from psst.episodes.stream import BatchStream, EpisodeLoader, EpisodeOrder, ImageSplit, Reader, TrainingPlan
from psst.images import build_store
from tests.episodes.tiny_source import KINDS, SIZES, TinySource, digest, kind_of


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(TinySource(SIZES), 4, tmp_path_factory.mktemp("cache"))


def make_stream(store, n_episodes=1):
    plan = TrainingPlan("tiny", "episodes", Episodes(3, 2, 4, per_batch=n_episodes), seed=5)
    return BatchStream(Reader(store, Policies()), plan)


def image_ids(pixels):
    """Read back what `TinySource.decode` painted."""
    corner = pixels[..., 0, 0].long()
    return corner[..., 0] + 256 * corner[..., -1]


def test_an_episode_holds_the_drawn_images_supports_first(store):
    stream = make_stream(store)
    batch, drawn = stream[11], stream.samplers[0].draw(11, 1)
    assert batch.shape == EpisodeShape(1, 3, 2, 4)
    assert batch.pixels.shape == (18, 3, 4, 4)
    assert batch.pixels.dtype == torch.uint8
    expected = [*drawn.support[0].ravel(), *drawn.query[0].ravel()]
    assert image_ids(batch.pixels).tolist() == batch.ids.tolist() == expected
    assert batch.targets.tolist() == [0, 0, 1, 1, 2, 2] + [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_array_equal(store.splits["train"][batch.labels], store.labels[batch.ids])
    np.testing.assert_array_equal(drawn.class_ids[0][batch.targets], store.labels[batch.ids])
    assert (batch.index, len(batch), batch.n_unlabeled) == (11, 18, 0)


def test_batches_of_several_episodes_hold_the_same_stream(store):
    single, batched = make_stream(store), make_stream(store, n_episodes=4)
    rows = torch.cat([single[i].ids for i in range(8, 12)])
    assert torch.equal(batched[2].ids, rows)


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
        *[(0, None, 1), (0, None, 2), (1, "fork", 1), (4, "fork", 2)],
        *[
            pytest.param(*rest, marks=pytest.mark.slow)
            for rest in [(1, "spawn", 1), (4, "spawn", 1), (1, "spawn", 2)]
        ],
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
    store, n_images = stream.reader.store, sum(SIZES["train"])
    batches = [stream[i] for i in range(n_images)]  # nine passes of 76 images, nine at a time
    ids = torch.cat([batch.ids for batch in batches]).reshape(9, n_images)
    train = store.split_ids("train").tolist()
    assert all(sorted(row.tolist()) == sorted(train) for row in ids)
    batch = batches[7]
    assert (len(batch), batch.index, batch.shape, batch.pixels.shape) == (9, 7, None, (9, 3, 4, 4))
    np.testing.assert_array_equal(store.splits["train"][batch.labels], store.labels[image_ids(batch.pixels)])


def test_unlabeled_images_come_beside_the_same_episodes(cache):
    with_them = stream_of("unlabeled", cache)
    without = BatchStream(with_them.reader, replace(with_them.plan, n_unlabeled=0))
    batches = [with_them[i] for i in range(12)]
    assert [len(batch.unlabeled) for batch in batches] == [5] * 12
    drawn = torch.cat([batch.unlabeled.ids for batch in batches])
    unlabeled = with_them.reader.store.unlabeled.tolist()
    assert all(sorted(part.tolist()) == unlabeled for part in drawn.reshape(5, 12))  # no image is favored
    for i, batch in enumerate(batches):
        assert torch.equal(batch.episodes.ids, without[i].ids)
        assert torch.equal(batch.targets, without[i].targets)
        assert batch.labels[-5:].tolist() == [-1] * 5


def test_mixed_batches_are_the_episodes_the_images_of_classes_and_the_unlabeled(cache):
    mixed, plain, classes = (stream_of(kind, cache) for kind in ("mixed", "plain", "classes"))
    for i in (0, 5):
        batch = mixed[i]
        assert torch.equal(batch.episodes.ids, plain[i].ids)
        assert torch.equal(batch.classes.ids, classes[i].ids)
        assert torch.equal(batch.classes.labels, classes[i].labels)
        assert len(batch) == 18 + 9 + 4 == len(batch.labeled) + len(batch.unlabeled)


def test_groups_keep_to_themselves_and_take_turns(cache):
    stream = stream_of("grouped", cache)
    store = stream.reader.store
    groups = [set(ids.tolist()) for ids in store.groups["train"].values()]
    counts = [0, 0]
    for i in range(200):
        classes = set(store.labels[stream[i].ids].tolist())
        group = next(g for g, members in enumerate(groups) if classes <= members)
        assert len(classes) == min(3, len(groups[group]))
        counts[group] += 1
    assert abs(counts[0] - 100) < 5 * 200**0.5 / 2


def test_ranks_share_the_stream_without_gaps():
    parts = [list(EpisodeOrder(lambda: 10, length=4, rank=rank, n_ranks=3)) for rank in range(3)]
    assert sorted(itertools.chain(*parts)) == list(range(10, 22))
    assert parts[1] == [11, 14, 17, 20]


def test_the_order_asks_where_to_begin_at_every_pass():
    begin = iter([0, 4, 7])
    order = EpisodeOrder(lambda: next(begin), length=3)
    assert [list(order) for _ in range(3)] == [[0, 1, 2], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(("batch_size", "n_parts"), [(16, 1), (100, 3), (7, 5), (1, 1), (1, 40)])
def test_a_split_gives_every_image_once(store, batch_size, n_parts):
    batches = list(
        DataLoader(ImageSplit(Reader(store, Policies()), "val", batch_size, n_parts), batch_size=None)
    )
    assert len(batches) % n_parts == 0  # as many for each process: none is repeated
    assert 0 < min(map(len, batches)) <= max(map(len, batches)) <= batch_size
    ids = torch.cat([batch.ids for batch in batches])
    assert ids.tolist() == store.split_ids("val").tolist()
    assert torch.equal(image_ids(torch.cat([batch.pixels for batch in batches])), ids)
    assert all(batch.labeled is None and batch.unlabeled is batch for batch in batches)


def test_a_split_of_fewer_images_than_ranks_is_refused(store):
    with pytest.raises(ValueError, match=r"`trainer.devices` makes 99 processes, split 'val' has 40 images"):
        ImageSplit(Reader(store, Policies()), "val", 16, n_parts=99)


def test_a_batch_moves_and_pickles_as_one(store):
    batch = make_stream(store)[0]
    moved = batch.to(torch.device("meta"), non_blocking=True)
    assert all(value.is_meta for value in vars(moved).values() if isinstance(value, torch.Tensor))
    assert digest(pickle.loads(pickle.dumps(batch))) == digest(batch)
