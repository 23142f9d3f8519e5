"""What the model that is handed over tells of test classes: confusions, and episodes to look at."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import altair as alt
import numpy as np
import numpy.typing as npt
from PIL import Image

from psst.confusion import on_page
from psst.datamodules import EpisodicDataModule
from psst.evaluation import episode_logits
from psst.images.store import ImageStore
from psst.training import FewShotModule
from psst.training.episode_evaluation import embed_split

_EPISODES = 200
_SUPPORTS, _QUERIES = 2, 6  # pictures a class that are shown
_SIDE = 44  # pixels of a picture on the page
_RIGHT, _WRONG = "#3f9d54", "#d8383f"  # seen on white and on black

Picture = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Told:
    """What was told of the queries of some episodes.

    Attributes:
        names: Of the n classes.
        confusion: ``[n, n]`` queries of a class, a row, that were told to be of another.
        episodes: Pictures by heading: of an episode of median accuracy, and of the worst.
        n_episodes: Of the confusions.
    """

    names: list[str]
    confusion: npt.NDArray[np.int64]
    episodes: dict[str, list[Picture]]
    n_episodes: int


def told(module: FewShotModule, data: EpisodicDataModule, split: Literal["val", "test"]) -> Told:
    """Classify the first episodes of a split, those of every group of classes.

    Args:
        module: In evaluation mode.
        data: Set up.
        split: Whose classes.
    """
    features, ids = embed_split(module, data, split)
    plan, store = data.episode_plan(split), data.store
    count = min(_EPISODES, data.eval_episodes(split))
    confusion = np.zeros((len(store.class_names),) * 2, dtype=np.int64)
    judged = []
    for group, sampler in plan.items():
        drawn = sampler.draw(0, count)
        guesses = episode_logits(features, sampler, module.head, count, ids).argmax(dim=-1).cpu().numpy()
        labels = drawn.labels[..., -guesses.shape[1] :]
        labels = np.broadcast_to(labels, guesses.shape)
        classes = [np.take_along_axis(drawn.class_ids, columns, axis=1) for columns in (labels, guesses)]
        np.add.at(confusion, tuple(classes), 1)
        right = (labels == guesses).mean(axis=1).tolist()
        judged += [
            (
                share,
                group,
                (drawn.class_ids[i], drawn.support[i], drawn.query[i].reshape(-1), labels[i], guesses[i]),
            )
            for i, share in enumerate(right)
        ]
    judged.sort(key=lambda one: one[0])
    episodes = {}
    for place, what in ((len(judged) // 2, "of median accuracy"), (0, "with most mistakes")):
        share, group, parts = judged[place]
        of = f", of {group}" if len(plan) > 1 else ""
        heading = f"A test episode {what}{of}: {100 * share:.0f} % right (red: told to be of another class)"
        episodes[heading] = list(_pictures(store, *parts))
    known = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    names = [store.class_names[i] for i in known]
    return Told(names, confusion[np.ix_(known, known)], episodes, count)


def episode_chart(pictures: Sequence[Picture]) -> dict[str, Any]:
    """Return the chart of an episode: a row a class, its supports, and its queries in green or red frames."""
    rows = alt.InlineData(values=list(pictures))
    order = list(dict.fromkeys(picture["class"] for picture in pictures))
    chart = alt.Chart(rows).encode(
        x=alt.X("column:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        y=alt.Y("class:N", title=None, sort=order, axis=alt.Axis(labelLimit=120)),
        tooltip=["class:N", "told:N"],
    )
    scale = alt.Scale(domain=["right", "wrong", "support"], range=[_RIGHT, _WRONG, "transparent"])
    frames = chart.mark_rect(filled=True).encode(color=alt.Color("how:N", scale=scale, legend=None))
    images = chart.mark_image(width=_SIDE, height=_SIDE).encode(url="url:N")
    return on_page(frames + images, width=alt.Step(_SIDE + 8), height=alt.Step(_SIDE + 8))


def _pictures(
    store: ImageStore,
    class_ids: npt.NDArray[np.int64],
    support: npt.NDArray[np.int64],
    query: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    guesses: npt.NDArray[np.int64],
) -> Iterable[Picture]:
    """The supports of each class, and its first queries."""
    names = [store.class_names[i] for i in class_ids]
    for column, name in enumerate(names):
        for place, image in enumerate(support[column, :_SUPPORTS]):
            yield _picture(store, image, f"support {place + 1}", name, "", "support")
        for place, i in enumerate(np.flatnonzero(labels == column)[:_QUERIES]):
            how = "right" if guesses[i] == column else "wrong"
            yield _picture(store, query[i], f"{place + 1}", name, names[guesses[i]], how)


def _picture(store: ImageStore, image: int, column: str, name: str, guess: str, how: str) -> Picture:
    """One picture as it lies in the store, as an address that holds it."""
    planes = store.read(np.array([image]))[0]
    pixels = planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)
    picture, buffer = Image.fromarray(pixels), BytesIO()
    picture.thumbnail((2 * _SIDE, 2 * _SIDE))
    picture.save(buffer, format="JPEG", quality=80)
    url = f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}"
    return {"url": url, "column": column, "class": name, "told": guess, "how": how}
