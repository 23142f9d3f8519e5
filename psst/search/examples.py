"""What the model that is handed over tells of test classes: confusions, and episodes to look at."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
from PIL import Image

from psst.datamodules import EpisodicDataModule
from psst.episodes import EpisodeIndices
from psst.evaluation import episode_logits
from psst.images.store import ImageStore
from psst.page import confusion_chart
from psst.training import FewShotModule

_EPISODES = 200
_SUPPORTS, _QUERIES = 2, 6  # pictures a class that are shown
_SIDE, _STEP = 44, 52  # pixels of a picture on the page, and from one to the next
_RIGHT, _WRONG = "#3f9d54", "#d8383f"  # seen on white and on black
_Ids = npt.NDArray[np.int64]
_Picture = dict[str, str]


@dataclass(frozen=True, eq=False)
class Told:
    """What was told of the queries of some episodes."""

    names: list[str]  # of the n classes
    confusion: _Ids  # ``[n, n]`` queries of a class, a row, that were told to be of another
    episodes: dict[str, list[_Picture]]  # by heading: one of median accuracy, and the worst
    count: int  # episodes of each group of classes that the confusions are of

    @classmethod
    def of(cls, module: FewShotModule, data: EpisodicDataModule) -> "Told":
        """Classify the first test episodes, by a module in evaluation mode on data that are set up."""
        features, image_ids = module.embed_split(data, "test")
        plan, store = data.episode_plan("test"), data.store
        count = min(_EPISODES, data.eval_episodes("test"))
        confusion = np.zeros((len(store.class_names),) * 2, dtype=np.int64)
        judged = []
        for group, sampler in plan.items():
            drawn = sampler.draw(0, count)
            logits = episode_logits(features, sampler, module.head, count, image_ids)
            guesses = logits.argmax(dim=-1).cpu().numpy()
            labels = np.broadcast_to(drawn.labels[..., -guesses.shape[1] :], guesses.shape)
            told = (np.take_along_axis(drawn.class_ids, columns, axis=1) for columns in (labels, guesses))
            np.add.at(confusion, tuple(told), 1)
            right = (labels == guesses).mean(axis=1).tolist()
            judged += [(share, group, drawn.rows(i, 1), guesses[i]) for i, share in enumerate(right)]
        judged.sort(key=lambda one: one[0])
        episodes = {}
        for place, what in ((len(judged) // 2, "of median accuracy"), (0, "with most mistakes")):
            share, group, episode, told_columns = judged[place]
            of = f", of {group}" if len(plan) > 1 else ""
            heading = f"A test episode {what}{of}: {100 * share:.0f} % right (red: taken for another class)"
            episodes[heading] = list(_pictures(store, episode, told_columns))
        seen = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
        names = [store.class_names[i] for i in seen]
        return cls(names, confusion[np.ix_(seen, seen)], episodes, count)

    def charts(self) -> dict[str, dict[str, Any]]:
        """Return Vega-Lite specifications by heading: each episode, and the confusions."""
        charts = {heading: _episode_chart(pictures) for heading, pictures in self.episodes.items()}
        heading = f"Which class a query was told to be, in {self.count} test episodes"
        return {**charts, heading: confusion_chart(self.confusion, self.names)}


def _episode_chart(pictures: list[_Picture]) -> dict[str, Any]:
    """A row a class: its supports, and its queries in green or red frames."""
    order = list(dict.fromkeys(picture["class"] for picture in pictures))
    chart = alt.Chart(alt.InlineData(values=pictures)).encode(
        x=alt.X("column:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        y=alt.Y("class:N", title=None, sort=order, axis=alt.Axis(labelLimit=120)),
        tooltip=["class:N", "told:N"],
    )
    scale = alt.Scale(domain=["right", "wrong", "support"], range=[_RIGHT, _WRONG, "transparent"])
    frames = chart.mark_rect(filled=True).encode(color=alt.Color("how:N", scale=scale, legend=None))
    layers = frames + chart.mark_image(width=_SIDE, height=_SIDE).encode(url="url:N")
    sized = layers.properties(width=alt.Step(_STEP), height=alt.Step(_STEP))
    return dict(sized.add_params(alt.param(name="picked", value="")).to_dict())


def _pictures(store: ImageStore, episode: EpisodeIndices, guesses: _Ids) -> Iterator[_Picture]:
    """The supports of each class of one episode, and its first queries."""
    names = [store.class_names[i] for i in episode.class_ids[0]]
    queries, labels = episode.query[0].reshape(-1), episode.labels[0][-len(guesses) :]
    for column, name in enumerate(names):
        for place, image in enumerate(episode.support[0, column, :_SUPPORTS]):
            yield {"column": f"support {place + 1}", "class": name, "how": "support", **_url(store, image)}
        for place, i in enumerate(np.flatnonzero(labels == column)[:_QUERIES]):
            how = "right" if guesses[i] == column else "wrong"
            told = {"column": f"{place + 1}", "class": name, "told": names[guesses[i]], "how": how}
            yield {**told, **_url(store, queries[i])}


def _url(store: ImageStore, image: int) -> _Picture:
    """One picture as it lies in the store, as an address that holds it."""
    planes = store.read(np.array([image]))[0]
    picture = Image.fromarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))
    picture.thumbnail((2 * _SIDE, 2 * _SIDE))
    buffer = BytesIO()
    picture.save(buffer, format="JPEG", quality=80)
    return {"url": f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}"}
