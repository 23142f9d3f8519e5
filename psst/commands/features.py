"""``psst data features``: the frozen features of a run, computed before it."""

from psst.datamodules import EpisodicDataModule
from psst.features.build import verify_features
from psst.images.store import ImageStore
from psst.search.settings import SearchSettings
from psst.training.experiment import Experiment

_VERIFY = "--verify"


def features(words: list[str]) -> str:
    """Build or find the cached features of a run, and describe them.

    Args:
        words: as of `psst fit`, and ``--verify``, which compares the file with its checksum.

    Raises:
        ValueError: the run caches no features, or the file was changed.
    """
    experiment = Experiment([word for word in words if word != _VERIFY], SearchSettings)
    module, data = experiment.module(), experiment.datamodule()
    if not isinstance(data, EpisodicDataModule) or data.features is None:
        raise ValueError(
            "`data.init_args.features` is null: the run reads images; set it to `{crops: 3, turned: 1}`."
        )
    data.prepare_data()
    data.setup("fit")
    module.attach(data)
    cache = data.feature_cache
    assert cache.folder is not None  # it was built
    found = verify_features(cache.folder)
    n, views, width = found["shape"]
    turned = sum(view.turns != (0,) for view in cache.views)
    lines = [
        f"folder   {cache.folder}",
        f"images   {n:,}",
        f"views    {views}: 1 upright, {views - 1 - turned} random crops, {turned} quarter turns",
        f"size     {width} numbers a view, {found['bytes'] / 2**20:.1f} MiB",
        f"key      {found['frozen']}",
        f"built in {found['seconds']:.1f} s",
    ]
    if _VERIFY in words:
        lines.append(f"sha256   {found['sha256']}, as {ImageStore.meta_file} says")
    return "\n".join(lines)
