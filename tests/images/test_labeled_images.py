import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from psst.images.labeled_images import LabeledImages
from tests.episodes.tiny_source import SIZES, ready


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ready(tmp_path_factory.mktemp("cache")).store


def test_items_are_the_images_of_the_split(store):
    images = LabeledImages(store, "val")
    assert len(images) == sum(SIZES["val"])
    assert images.classes == ["val0", "val1", "val2", "val3"]
    for index in (0, 12, len(images) - 1):
        image, label = images[index]
        assert (image.shape, image.dtype) == ((3, 4, 4), torch.float32)
        class_id = store.splits["val"][label]
        ids = store.image_ids(int(class_id))
        place = images.labels_to_indices[label].index(index)
        assert torch.equal((image * 255).round(), torch.tensor(store.images[ids[place]]).permute(2, 0, 1))
    assert [images[i][1] for i in range(len(images))] == images.targets
    assert sum(map(len, images.labels_to_indices.values())) == len(images)


def test_a_transform_is_called(store):
    assert LabeledImages(store, "train", transform=torch.Tensor.sum)[0][0].shape == ()


def test_it_pickles_as_the_folder_of_its_store(store):
    images = LabeledImages(store, "test")
    again = pickle.loads(pickle.dumps(images))
    assert torch.equal(again[7][0], images[7][0])
    assert len(pickle.dumps(store)) < 1000


@pytest.mark.slow
def test_spawned_workers_read_it(store):
    images = LabeledImages(store, "test")
    batches = list(DataLoader(images, 20, num_workers=1, multiprocessing_context="spawn"))
    assert torch.equal(torch.cat([labels for _, labels in batches]), torch.tensor(images.targets))


def test_an_unknown_split_is_named(store):
    with pytest.raises(ValueError, match="`split=validation` is none of train, val, test"):
        LabeledImages(store, "validation")
