import pickle

import pytest
import torch
from psst.episodes.reading import read_ids, read_images

from psst.episodes.residence import Residence
from tests.episodes.tiny_source import KINDS, digest, kind_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def loaded(kind, cache):
    data = kind_of(kind, cache)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_ids_become_the_same_batches(cache, kind):
    data, residence = loaded(kind, cache), Residence("cpu")
    reader = residence.reader(data.store, CPU)
    assert reader is read_ids
    stream = data._training.stream(data.store, reader)
    for index in (0, 7, 1000):
        batch = stream[index]
        assert batch.holds_ids
        filled = residence.fill(batch, CPU)
        assert not filled.holds_ids
        assert digest(filled) == digest(data.train_batch(index))


def test_evaluation_images_are_looked_up_too(cache):
    data, residence = loaded("plain", cache), Residence("cpu")
    residence.reader(data.store, CPU)
    whole = next(iter(data.val_dataloader()))
    filled = residence.fill(whole | {"image": whole["image_id"]}, CPU)
    assert all(torch.equal(filled[name], whole[name]) for name in whole)


def test_other_batches_are_left_alone(cache):
    data, residence = loaded("plain", cache), Residence("cpu")
    residence.reader(data.store, CPU)
    for batch in (data.train_batch(0), [1, 2], next(iter(data.val_dataloader()))):
        assert residence.fill(batch, CPU) is batch


def test_images_stay_in_the_map_without_a_gpu_or_a_trainer(cache):
    store = loaded("plain", cache).store
    for device in ("auto", "map"):
        assert Residence(device).reader(store, CPU) is read_images
    assert Residence("cpu").reader(store, None) is read_images


def test_another_process_decides_anew(cache):
    residence = Residence("cpu")
    residence.reader(loaded("plain", cache).store, CPU)
    assert len(pickle.dumps(residence)) < 300
    assert pickle.loads(pickle.dumps(residence))._images is None


def test_devices_that_are_not_there_are_named(cache):
    with pytest.raises(ValueError, match=r"`data.init_args.device=gpu0` is no device; use `auto`"):
        Residence("gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"`data.init_args.device=cuda` cannot hold the images"):
            Residence("cuda").reader(loaded("plain", cache).store, CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_with_room_takes_the_images(cache, kind):
    data, residence, device = loaded(kind, cache), Residence("auto"), torch.device("cuda", 0)
    stream = data._training.stream(data.store, residence.reader(data.store, device))
    filled = residence.fill(stream[5].to(device), device)
    assert getattr(filled, filled.IMAGES[0]).device == device
    assert digest(filled.to("cpu")) == digest(data.train_batch(5))
