"""The cache is the same file, whoever builds it and however often that was killed."""

import pickle
import sys
import time
from multiprocessing import get_context, set_start_method
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from psst.backbones import Conv4
from psst.episodes import Policies
from psst.features import CachedBatch, FeatureCache, FeatureViews, build_features
from psst.features import build as building
from psst.fewshot import PrototypicalHead
from psst.images.augment import Augmentation
from psst.images.view import UPRIGHT, View
from psst.tasks import Episodic, GlobalClasses, PatchLocation, Preserve, Rotation, SimCLR
from psst.training import FewShotModule
from tests import laws
from tests.episodes.tiny_source import ready

POLICIES = Policies({"main": Augmentation(padding=1, brightness=0.4)})
VIEWS = FeatureViews().columns([View()], turns=True)
SETTINGS = {"augmentations": POLICIES.augmentations, "features": FeatureViews()}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ready(tmp_path_factory.mktemp("images")).store


def encoder_for(store):
    return laws.setup_for(laws.Adapter(), store.image_shape, ()).encoder


def built(store, cache, views=VIEWS, policies=POLICIES, **settings):
    return build_features(encoder_for(store), store, views, policies, cache, **settings)


def test_the_file_holds_the_frozen_feature_of_every_view(store, tmp_path):
    cache = FeatureCache.open(built(store, tmp_path))
    encoder = encoder_for(store)
    images = torch.from_numpy(store.read(np.arange(len(store))))
    for turn in range(4):
        frozen = encoder.backbone.frozen(encoder.normalized(images.rot90(turn, (-2, -1))))
        column = cache.views.index(View(UPRIGHT, (turn,)))
        # bfloat16 where the processor has it: 8 bits a factor
        torch.testing.assert_close(cache.features[:, column].float(), frozen, rtol=0.02, atol=0.05)
    crops = [cache.features[:, cache.views.index(View(crop))] for crop in range(3)]
    assert not any(torch.equal(crops[i], crops[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    torch.testing.assert_close(cache.mean(torch.arange(40)), cache.features[:40, 0].float().mean(0))


def test_it_is_built_once_and_opened_by_path(store, tmp_path, monkeypatch):
    folder = built(store, tmp_path)
    monkeypatch.setattr(building, "_build", None)
    assert built(store, tmp_path) == folder
    cache = pickle.loads(pickle.dumps(FeatureCache.open(folder)))
    assert cache is FeatureCache.open(folder)


def test_the_bits_do_not_depend_on_the_number_of_processes(store, tmp_path, monkeypatch):
    first = built(store, tmp_path / "all")
    monkeypatch.setattr(building, "cores", lambda: 1)
    second = built(store, tmp_path / "one")
    assert first.name == second.name
    assert (first / "features.npy").read_bytes() == (second / "features.npy").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="counts files by /proc")
def test_a_process_that_is_not_forked_is_handed_an_encoder_of_any_size(store):
    """A tensor would be a file, and a fork server takes 250 of them."""
    encoder = encoder_for(store)
    encoder.more = torch.nn.ParameterList(torch.randn(2) for _ in range(300))
    chunks = building._Chunks(encoder, store, VIEWS, POLICIES, torch.device("cpu"))
    before = len([*Path("/proc/self/fd").iterdir()])
    copy = ForkingPickler.loads(ForkingPickler.dumps(chunks))
    assert len([*Path("/proc/self/fd").iterdir()]) < before + 10
    assert torch.equal(copy[0], chunks[0])


@pytest.mark.parametrize("change", ["seed", "policy", "views", "weights", "images"])
def test_what_changes_the_features_changes_the_folder(store, tmp_path, change):
    encoder, views, policies, other = encoder_for(store), VIEWS, POLICIES, store
    if change == "seed":
        policies = Policies(POLICIES.augmentations, seed=1)
        alone = VIEWS[:1]  # without random crops it plays no part
        assert built(store, tmp_path, alone) == built(store, tmp_path, alone, policies)
    if change == "policy":
        policies = Policies({"main": Augmentation(padding=2)})
    if change == "views":
        views = VIEWS[:4]
    if change == "weights":
        encoder.backbone.key = "others"
    if change == "images":
        other = ready(tmp_path / "images", sizes={"train": [8] * 3, "val": [9] * 3, "test": [9] * 3}).store
    assert build_features(encoder, other, views, policies, tmp_path) != built(store, tmp_path)


def test_a_damaged_file_is_refused_by_name(store, tmp_path):
    path = built(store, tmp_path) / "features.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(
        ValueError, match=r"features.npy` has [\d,]+ bytes, .* says [\d,]+; delete the folder"
    ):
        FeatureCache.open(path.parent)
    path.write_bytes(content[:-10] + b"other bits")
    with pytest.raises(ValueError, match=r"features.npy` has sha256 .* was changed after .*delete the fold"):
        FeatureCache.open(path.parent)
    path.unlink()
    with pytest.raises(ValueError, match=r"features.npy` has 0 bytes"):
        FeatureCache.open(path.parent)


def test_too_small_a_disk_is_said_before_anything_is_computed(store, tmp_path, monkeypatch):
    usage = type(building.shutil.disk_usage(tmp_path))
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: usage(100, 95, 5))
    monkeypatch.setattr(building, "_computed", None)
    with pytest.raises(OSError, match=r"no room .* they need 0.\d MiB .*too small\); free some space, lower"):
        built(store, tmp_path)


def test_features_that_are_no_numbers_are_refused(store, tmp_path, monkeypatch):
    encoder = encoder_for(store)
    encoder.backbone.fixed.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"frozen feature of images 0 to 31 is NaN"):
        build_features(encoder, store, VIEWS, POLICIES, tmp_path)


def build_slowly(images, cache):
    """Build in this process, which was made for it."""
    set_start_method("fork", force=True)  # as it is outside of a test
    compute = building._Chunks.__getitem__

    def slow(chunks, chunk):
        time.sleep(0.05)
        return compute(chunks, chunk)

    building._Chunks.__getitem__ = slow
    built(ready(images, sizes={"train": [40] * 12, "val": [40] * 3, "test": [40] * 3}).store, cache)


def begun(images, cache):
    context = get_context("forkserver")  # a fork of this process would take over the state of its threads
    context.set_forkserver_preload(["psst.features", "psst.training", "pytest"])
    process = context.Process(target=build_slowly, args=(images, cache))
    process.start()
    return process


def finished(process):
    process.join(timeout=60)
    assert process.exitcode == 0


def files(cache):
    """The files of the only cache in a folder, by name."""
    (folder,) = (path for path in cache.glob("features-*") if path.is_dir())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def size_of(cache):
    return sum(path.stat().st_size for path in cache.glob("features-*/features.npy"))


@pytest.mark.slow
def test_a_killed_build_goes_on_bit_for_bit(tmp_path):
    """Killed when it has so many chunks, and some milliseconds later."""
    images, whole, killed = (tmp_path / name for name in ("images", "whole", "killed"))
    finished(begun(images, whole))
    chunk = 32 * len(VIEWS) * 12 * 2  # bytes
    for moment in range(10):
        process, deadline = begun(images, killed), time.monotonic() + 200
        while process.is_alive() and size_of(killed) < moment * chunk and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.007 * moment)
        process.kill()
        process.join()
        assert size_of(killed) >= moment * chunk
    finished(begun(images, killed))
    assert sorted(files(killed)) == ["features.npy", "meta.json"]
    assert files(killed)["features.npy"] == files(whole)["features.npy"]


def test_two_processes_build_one_cache(tmp_path):
    for process in [begun(tmp_path / "images", tmp_path / "cache") for _ in range(2)]:
        finished(process)
    assert len(files(tmp_path / "cache")) == 2


def module_of(auxiliary=(), main=None):
    main = main or GlobalClasses(PrototypicalHead())
    return FewShotModule(laws.Adapter(), main, auxiliary=list(auxiliary))


def trainer(folder, **settings):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(
        default_root_dir=folder, accelerator="cpu", enable_model_summary=False, **quiet, **settings
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batches", ["classes", "episodes", "mixed"])
def test_a_module_trains_and_is_tested_on_features(tmp_path, store, batches, workers):
    data = ready(store.folder.parent, batches=batches, num_workers=workers, **SETTINGS)
    main = Episodic(PrototypicalHead()) if batches == "episodes" else None
    module = module_of([Rotation(), SimCLR(), Preserve()], main)
    run = trainer(tmp_path, max_steps=4, limit_val_batches=1, num_sanity_val_steps=0)
    run.fit(module, datamodule=data)
    run.test(module, datamodule=data, verbose=False)
    assert module.scores["all"].mean > 0
    (features,) = run.predict(module, datamodule=data)
    ids = data.store.split_ids("test")
    assert torch.equal(features, module.encoder.backbone.adapted(data.feature_cache.features[ids, 0].float()))
    mean = data.feature_cache.features[data.store.split_ids("train"), 0].float().mean(dim=0)
    torch.testing.assert_close(module.encoder.backbone.center, mean)
    for batch in (
        data.train_batch(0),
        next(iter(data.train_dataloader())),
        next(iter(data.val_dataloader())),
    ):
        assert isinstance(batch, CachedBatch)
        assert batch.pixels is None


def test_what_cannot_train_on_features_is_refused_by_name(tmp_path, store):
    data = ready(store.folder.parent, **SETTINGS)
    with pytest.raises(RuntimeError, match=r"after `cache_features`, or `FewShotModule.attach`, only"):
        data.train_batch(0)
    with pytest.raises(TypeError, match=r"`data.init_args.features` needs a backbone .* found Conv4"):
        FewShotModule(Conv4(hidden=4), Episodic(PrototypicalHead())).attach(
            ready(store.folder.parent, **SETTINGS, size=16)
        )
    module = module_of([PatchLocation()], Episodic(PrototypicalHead()))
    module.attach(data)
    with pytest.raises(RuntimeError, match="cached features, no images"):
        module.task_losses(data.train_batch(0))
    few = ready(store.folder.parent, augmentations=POLICIES.augmentations, features=FeatureViews(1))
    with pytest.raises(ValueError, match=r"`data.init_args.features.crops=1` .* asks for 2"):
        module_of([SimCLR()]).attach(few)
    with pytest.raises(RuntimeError, match=r"`data.init_args.features` is null; set it to"):
        ready(store.folder.parent).cache_features(module.encoder, [])


def test_turns_are_cached_only_where_a_task_turns(store):
    for auxiliary, columns in (([], 4), ([SimCLR()], 4), ([Rotation()], 10)):
        data = ready(store.folder.parent, batches="classes", **SETTINGS)
        module_of(auxiliary).attach(data)
        assert len(data.feature_cache.views) == columns
