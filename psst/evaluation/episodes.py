"""Many episodes at once over images that were embedded once."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from psst.episodes import EpisodeIndices, EpisodeSampler
from psst.evaluation.scores import EpisodeScores
from psst.fewshot import Head

_CHUNK_BYTES = 8 * 2**20  # gathered features of one chunk: small enough to stay in the caches of a CPU
_CHUNK_BYTES_DEVICE = 256 * 2**20


def evaluate_episodes(
    features: Tensor,
    sampler: EpisodeSampler,
    head: Head,
    n_episodes: int,
    image_ids: npt.NDArray[np.integer] | Tensor | None = None,
) -> EpisodeScores:
    """Classify the queries of the first ``n_episodes`` episodes.

    Args:
        features: ``[n, D]`` embedded images, float, on the device to compute on; or maps ``[n, C', h, w]``.
        sampler: says which images make up an episode.
        head: maps support ``[B, N*S, D]``, support labels ``[B, N*S]``, query ``[B, N*Q, D]`` and N to logits
            ``[B, N*Q, N]``; put into eval mode by the caller if it has one.
        n_episodes: how many, at least 1.
        image_ids: ``[n]`` image id of each row of ``features``; None if row i is image i.

    Raises:
        ValueError: ``n_episodes`` is below 1, features are not finite, or an image of the sampler has no row.
    """
    scored = []
    for drawn, logits in _judged(features, sampler, head, n_episodes, image_ids):
        count = len(logits)
        labels = torch.arange(sampler.n_way, device=logits.device).repeat_interleave(sampler.n_query)
        correct = logits.argmax(dim=-1) == labels
        losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.repeat(count), reduction="none")
        scored.append((correct.float().mean(dim=1), losses.view(count, -1).mean(dim=1), drawn.class_ids))
    accuracies, mean_losses, classes = zip(*scored, strict=True)
    return EpisodeScores(
        torch.cat(accuracies).float().cpu().numpy(),
        torch.cat(mean_losses).float().cpu().numpy(),
        stream=sampler.stream,
        seed=sampler.seed,
        n_way=sampler.n_way,
        n_shot=sampler.n_shot,
        n_query=sampler.n_query,
        class_ids=np.concatenate(classes).astype(np.int32),
    )


def episode_logits(
    features: Tensor,
    sampler: EpisodeSampler,
    head: Head,
    n_episodes: int,
    image_ids: npt.NDArray[np.integer] | Tensor | None = None,
) -> Tensor:
    """Return the logits ``[n, N*Q, N]`` of the queries that `evaluate_episodes` judges."""
    return torch.cat([logits for _, logits in _judged(features, sampler, head, n_episodes, image_ids)])


@torch.no_grad()
def _judged(
    features: Tensor,
    sampler: EpisodeSampler,
    head: Head,
    n_episodes: int,
    image_ids: npt.NDArray[np.integer] | Tensor | None,
) -> Iterator[tuple[EpisodeIndices, Tensor]]:
    """Give some episodes after another, and the logits of their queries."""
    if n_episodes < 1:
        raise ValueError(f"`n_episodes={n_episodes}` must be at least 1.")
    rows_of, way, device = _rows(features, sampler, image_ids), sampler.n_way, features.device
    images = way * (sampler.n_shot + sampler.n_query)
    budget = _CHUNK_BYTES if device.type == "cpu" else _CHUNK_BYTES_DEVICE
    chunk = max(1, min(n_episodes, budget // max(1, images * features[0].numel() * features.element_size())))
    for begin in range(0, n_episodes, chunk):
        drawn = sampler.draw(begin, min(chunk, n_episodes - begin))
        count = len(drawn.class_ids)
        rows = (torch.from_numpy(rows_of[ids.reshape(count, -1)]) for ids in (drawn.support, drawn.query))
        support, query = (
            features.index_select(0, part.flatten().to(device)).reshape(*part.shape, *features.shape[1:])
            for part in rows
        )
        labels = torch.arange(way, device=device).repeat_interleave(sampler.n_shot).expand(count, -1)
        yield drawn, head(support, labels, query, way)


def _rows(
    features: Tensor, sampler: EpisodeSampler, image_ids: npt.NDArray[np.integer] | Tensor | None
) -> npt.NDArray[np.int64]:
    """Return the row of each image id, -1 where there is none; check that every needed image has one."""
    if features.ndim < 2 or not features.is_floating_point():
        raise ValueError(
            f"`features` must be floats of shape [n, D], or maps [n, C', h, w], found "
            f"{features.dtype} {list(features.shape)}."
        )
    if not features.sum(dtype=torch.float32).isfinite():  # one pass; a NaN or an infinity survives a sum
        raise ValueError(
            "`features` hold a NaN or an infinity; the model that embedded the images has diverged."
        )
    ids = np.arange(len(features)) if image_ids is None else np.asarray(torch.as_tensor(image_ids).cpu())
    if ids.shape != (len(features),):
        raise ValueError(
            f"`image_ids` has shape {list(ids.shape)}, {len(features)} rows need [{len(features)}]."
        )
    needed = sampler.image_ids
    rows_of = np.full(int(max(ids.max(initial=-1), needed.max())) + 1, -1, dtype=np.int64)
    rows_of[ids] = np.arange(len(ids))
    missing = int((rows_of[needed] < 0).sum())
    if missing:
        raise ValueError(
            f"{missing} of the {len(needed)} images that the episodes draw from have no row in `features` "
            f"({len(features)} rows); embed every image of the split once."
        )
    return rows_of
