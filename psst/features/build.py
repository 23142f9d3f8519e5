"""Frozen features of every image, computed once: in parallel, locked, resumed where a build was killed."""

import copy
import ctypes
import errno
import hashlib
import io
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_start_method
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from psst.backbones import Encoder
from psst.components import describe
from psst.episodes import Policies
from psst.files import explained, read_json, write_json
from psst.images.build import cores, unfinished
from psst.images.store import ImageStore
from psst.images.view import UPRIGHT, View
from psst.process import has_fast_bf16
from psst.waiting import bar

FEATURES = "features.npy"
_FORMAT = 1  # of meta.json, of the array, and of the draws behind the crops
_CHUNK = 32  # images that are encoded together; their crops are drawn by the number of the chunk
_LEAST_COSINE = 0.999  # between features in bfloat16 and in float32
_META = ImageStore.meta_file
_AGAIN = "delete the folder, so that it is built again"


def build_features(
    encoder: Encoder,
    store: ImageStore,
    views: Sequence[View],
    policies: Policies,
    cache: str | Path,
    device: torch.device | str = "cpu",
) -> Path:
    """Return the folder with the frozen features of some views of every image; build it if it is not there.

    It is keyed by the frozen network (``backbone.key``), the images, the views, the augmentations behind them
    and, if there are random crops, the seed. On a CPU all cores encode, one thread each; the file is the same
    whatever their number. Concurrent calls wait for the first; what a killed build has finished is kept.

    Each view has one turn, and the turns of a picture follow it; `policies` make the crops.

    Raises:
        TypeError: the backbone has no frozen part.
        OSError: there is no room, or the folder cannot be written.
        ValueError: a feature is not finite in half precision.
    """
    backbone = encoder.backbone
    if not hasattr(backbone, "key"):
        raise TypeError(
            f"`data.init_args.features` needs a backbone with a frozen part such as psst.backbones.Adapted, "
            f"found {type(backbone).__name__}; choose one, or leave it out."
        )
    crops = {view.policy for view in views if view.crop != UPRIGHT}
    key: dict[str, Any] = {
        "frozen": backbone.key,
        "mean": encoder.mean.tolist(),
        "std": encoder.std.tolist(),
        "images": store.meta["sha256"][ImageStore.images_file],
        "views": [[view.crop, view.turns[0], view.policy] for view in views],
        "policies": {name: describe(policies.augmentations[name]) for name in sorted(crops)},
        "seed": policies.seed if crops else None,
    }
    digest = hashlib.blake2b(json.dumps([_FORMAT, key], sort_keys=True).encode(), digest_size=6).hexdigest()
    folder = Path(cache) / f"features-{digest}"
    with unfinished(folder / _META) as is_missing:
        if is_missing:
            _build(_Chunks(encoder, store, views, policies, torch.device(device)), key, folder)
    return folder


def verify_features(folder: Path) -> dict[str, Any]:
    """Return what is known of a finished cache, its file compared with size and checksum.

    FileNotFoundError if there is none, ValueError if it is truncated or changed, or of another format.
    """
    meta = read_json(folder / _META, _FORMAT, f"the cache of features `{folder}`", _AGAIN)
    path = folder / FEATURES
    size = path.stat().st_size if path.is_file() else 0
    if size != meta["bytes"]:
        raise ValueError(f"`{path}` has {size:,} bytes, {_META} says {meta['bytes']:,}; {_AGAIN}.")
    if (found := _digest(path)) != meta["sha256"]:
        raise ValueError(
            f"`{path}` has sha256 {found[:12]}..., {_META} says {meta['sha256'][:12]}...; the file was "
            f"changed after it was built: {_AGAIN}."
        )
    return meta


class _Chunks(Dataset[Tensor]):
    """Item i: features ``[k, V, D']`` float16 of the i-th `_CHUNK` images."""

    def __init__(
        self,
        encoder: Encoder,
        store: ImageStore,
        views: Sequence[View],
        policies: Policies,
        device: torch.device,
    ) -> None:
        self.encoder = copy.deepcopy(encoder).to(device).eval()
        self.store, self.views = store, views
        self.policies = Policies(policies.augmentations, policies.seed, "features")
        self.device = device
        self.shape = len(store), len(views), int(self.encoder.backbone.num_frozen)  # type: ignore[arg-type]  # an integer, of backbones with a key
        self.fast = False

    def __getstate__(self) -> dict[str, Any]:
        """Pack the encoder: a process that is not forked gets a file for each tensor, 250 at most."""
        torch.save(self.encoder, packed := io.BytesIO())
        return {**vars(self), "encoder": packed.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        encoder = torch.load(io.BytesIO(state["encoder"]), weights_only=False)  # by `__getstate__`
        vars(self).update(state, encoder=encoder)

    def __len__(self) -> int:
        return -(-len(self.store) // _CHUNK)

    def __getitem__(self, chunk: int) -> Tensor:
        ids = np.arange(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(self.store)))
        pixels = torch.from_numpy(self.store.read(ids)).to(self.device)
        columns, picture = [], pixels
        for view in self.views:
            if view.turns == (0,):
                picture = self.policies.crop(pixels, view, chunk)
            columns.append(self._frozen(picture.rot90(view.turns[0], (-2, -1)), self.fast))
        found = torch.stack(columns, dim=1).cpu()
        if not bool(found.isfinite().all()):
            raise ValueError(
                f"a frozen feature of images {ids[0]} to {ids[-1]} is NaN or too large for half "
                "precision; choose another `model.init_args.backbone`."
            )
        return found

    def choose_precision(self) -> None:
        """Take bfloat16 where the processor has it, if features of the first images keep their directions."""
        if has_fast_bf16(self.device.type):
            pixels = torch.from_numpy(self.store.read(np.arange(min(_CHUNK, len(self.store))))).to(
                self.device
            )
            exact, rounded = (self._frozen(pixels, fast).float() for fast in (False, True))
            self.fast = bool(F.cosine_similarity(exact, rounded, dim=1).mean() >= _LEAST_COSINE)

    @torch.no_grad()
    def _frozen(self, images: Tensor, fast: bool) -> Tensor:
        images = self.encoder.normalized(images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
            return self.encoder.backbone.frozen(images).half()


def _build(chunks: _Chunks, key: dict[str, Any], folder: Path) -> None:
    """Append chunk after chunk to a file in a folder of its own, and rename that when all is there."""
    partial, started = folder.with_name(folder.name + ".partial"), time.monotonic()
    buffer, header = io.BytesIO(), {"descr": "<f2", "fortran_order": False, "shape": chunks.shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    head, per_chunk = buffer.getvalue(), 2 * _CHUNK * chunks.shape[1] * chunks.shape[2]
    total = len(head) + 2 * math.prod(chunks.shape)
    partial.mkdir(exist_ok=True)
    full = f"no room for the features in `{folder.parent}`: they need {total / 2**20:.1f} MiB"
    advice = (
        "free some space, lower `data.init_args.features.crops`, or set `data.init_args.cache_dir` to a "
        "folder on a larger disk. What is finished is kept."
    )
    with explained(full, advice, only_full=True), (partial / FEATURES).open("ab") as file:
        done = max(0, (file.tell() - len(head)) // per_chunk)
        kept = len(head) + done * per_chunk if done else 0  # what lies behind is made anew
        if shutil.disk_usage(partial).free < total - kept:
            raise OSError(errno.ENOSPC, "the disk is too small")
        file.truncate(kept)
        file.write(b"" if kept else head)
        count = done * _CHUNK
        with bar(f"features of {chunks.shape[1]} views") as show:
            for features in _computed(chunks, done):
                file.write(features.numpy().data)
                file.flush()
                os.fsync(file.fileno())
                count += len(features)
                show(count, chunks.shape[0])
    found = {"bytes": total, "sha256": _digest(partial / FEATURES), "shape": chunks.shape}
    write_json(partial / _META, {**key, **found, "seconds": time.monotonic() - started}, _FORMAT)
    partial.replace(folder)


def _computed(chunks: _Chunks, done: int) -> DataLoader[Tensor]:
    """Return a loader of all chunks from `done` on: the order is theirs, whoever computes them."""
    chunks.choose_precision()
    rest = Subset(chunks, range(done, len(chunks)))
    workers = 0 if chunks.device.type == "cuda" else min(cores(), len(rest))
    own = torch.Generator()  # a loader draws from the global one otherwise
    begin = partial(_begin, os.getpid())
    return DataLoader(rest, batch_size=None, num_workers=workers, worker_init_fn=begin, generator=own)


def _begin(parent: int, worker: int) -> None:
    """Let a worker end with its parent, whose lock it holds too; Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if get_start_method() == "fork" and os.getppid() != parent:  # it ended before that
            os._exit(1)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
