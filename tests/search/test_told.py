"""What a search says of single test images is what its test has scored."""

import io
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image

from psst.backbones import Conv4
from psst.datamodules import Glyphs
from psst.episodes import Evaluation
from psst.evaluation import evaluate_episodes
from psst.fewshot import PrototypicalHead
from psst.search.examples import Told
from psst.tasks import Episodic
from psst.training import FewShotModule

EPISODES, WAY, QUERY = 40, 5, 7


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    evaluation = Evaluation(way=WAY, shot=3, query=QUERY, val_episodes=EPISODES, test_episodes=EPISODES)
    data = Glyphs(cache_dir=str(tmp_path_factory.mktemp("cache")), evaluation=evaluation)
    data.prepare_data()
    data.setup("test")
    torch.manual_seed(0)
    module = FewShotModule(Conv4(hidden=8), Episodic(PrototypicalHead()), [])
    module.attach(data)
    return module.eval(), data, Told.of(module, data)


def test_confusions_count_every_query_and_agree_with_the_accuracy(parts):
    module, data, found = parts
    ((_, sampler),) = data.episode_plan("test").items()
    features, ids = module.embed_split(data, "test")
    scores = evaluate_episodes(features, sampler, module.head, EPISODES, ids)
    names, drawn = np.unique(sampler.draw(0, EPISODES).class_ids, return_counts=True)
    counts = dict(zip([data.store.class_names[i] for i in names], drawn * QUERY, strict=True))
    assert dict(zip(found.names, found.confusion.sum(axis=1).tolist(), strict=True)) == counts
    assert found.confusion.trace() / found.confusion.sum() == pytest.approx(scores.mean)


def test_the_episodes_are_the_worst_and_the_median_and_show_the_images_of_the_store(parts):
    module, data, found = parts
    ((_, sampler),) = data.episode_plan("test").items()
    features, ids = module.embed_split(data, "test")
    scores = evaluate_episodes(features, sampler, module.head, EPISODES, ids)
    (median, worst), order = found.episodes, np.sort(scores.accuracies)
    assert f"{100 * order[EPISODES // 2]:.0f} % right" in median
    assert f"{100 * order[0]:.0f} % right" in worst
    known = {image.tobytes() for image in data.store.read(sampler.image_ids)}
    for pictures in found.episodes.values():
        assert len(pictures) == WAY * (2 + 6)
        for one in pictures:
            assert one["how"] == {None: "support", one["class"]: "right"}.get(one.get("told"), "wrong")
            pixels = np.asarray(Image.open(io.BytesIO(b64decode(one["url"].partition(",")[2]))))
            near = min(
                np.abs(np.frombuffer(image, np.uint8) - pixels.ravel().astype(float)).mean()
                for image in known
            )
            assert near < 4  # of 255: JPEG
    charts, shown = found.charts(), found.episodes
    assert [list(charts[one]["datasets"].values()) for one in shown] == [[one] for one in shown.values()]
