from dataclasses import replace

import pytest
import torch

from psst.episodes.residence import Residence
from psst.episodes.stream import BatchStream, Reader
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
    assert not residence.needs_pixels(data.store, CPU)
    stream = BatchStream(Reader(data.store, data.policies("train"), with_pixels=False), data._training)
    for index in (0, 7, 1000):
        batch = stream[index]
        assert batch.pixels is None
        assert digest(residence.fill(batch, CPU)) == digest(data.train_batch(index))


def test_evaluation_images_are_looked_up_too(cache):
    data, residence = loaded("plain", cache), Residence("cpu")
    residence.needs_pixels(data.store, CPU)
    whole = next(iter(data.val_dataloader()))
    assert digest(residence.fill(replace(whole, pixels=None), CPU)) == digest(whole)


def test_batches_with_pixels_are_left_alone(cache):
    data, residence = loaded("plain", cache), Residence("cpu")
    residence.needs_pixels(data.store, CPU)
    for batch in (data.train_batch(0), next(iter(data.val_dataloader()))):
        assert residence.fill(batch, CPU) is batch


def test_images_stay_in_the_map_without_a_gpu_or_a_trainer(cache):
    store = loaded("plain", cache).store
    for device in ("auto", "map"):
        assert Residence(device).needs_pixels(store, CPU)
    assert Residence("cpu").needs_pixels(store, None)


def test_devices_that_are_not_there_are_named(cache):
    with pytest.raises(ValueError, match=r"`data.init_args.device=gpu0` is no device; use `auto`"):
        Residence("gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"`data.init_args.device=cuda` cannot hold the images"):
            Residence("cuda").needs_pixels(loaded("plain", cache).store, CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_with_room_takes_the_images(cache, kind, monkeypatch):
    data, residence, device = loaded(kind, cache), Residence("auto"), torch.device("cuda", 0)
    pixels = residence.needs_pixels(data.store, device)
    stream = BatchStream(Reader(data.store, data.policies("train"), pixels), data._training)
    filled = residence.fill(stream[5].to(device), device)
    assert filled.pixels.device == device
    assert digest(filled.to("cpu")) == digest(data.train_batch(5))
    monkeypatch.setattr("psst.episodes.residence._SHARE", 1e-12)
    assert Residence("auto").needs_pixels(data.store, device)
