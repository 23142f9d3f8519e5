"""Wrong input by the hundred: each table crosses places where a user can be wrong with ways to be wrong."""

import csv
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from psst.evaluation import save_scores
from tests.fuzz.world import put_pictures, scores

Change = Callable[[Path], object]
FIT = ("fit", "--config", "run.yaml")
TEST = ("test", "--config", "run.yaml", "--ckpt_path", "model.ckpt")


@dataclass(frozen=True)
class Case:
    """A command line, what is done to the world before, and what the answer has to name."""

    id: str
    words: tuple[str, ...]
    names: tuple[str, ...] = ()
    change: Change | None = None
    accepted: bool = False


# --- values of options -------------------------------------------------------------------------------------

NO_NUMBER = ("many", "nan", "[]", "{a: 1}", "")
WHOLE = (*NO_NUMBER, "0.5", "1e9", "-1")
ABOVE_0 = (*WHOLE, "0")
REAL = ("many", "[]", "inf", "-1", "nan")
WORD = ("nonsense", "3", "[]")
DATA, MODEL = "data.init_args.", "model.init_args."
VALUES = {
    DATA + "size": (*ABOVE_0, "100000", "9999999999"),
    DATA + "episodes.way": (*ABOVE_0, "1000000000", "[5, 2]", "[2]", "1"),
    DATA + "episodes.shot": (*ABOVE_0, "1000000000"),
    DATA + "episodes.query": (*ABOVE_0, "1000000000"),
    DATA + "episodes.per_batch": ABOVE_0,
    DATA + "episodes.balance": ("nan", "-1", "0", "much"),
    DATA + "evaluation.way": (*ABOVE_0, "1"),
    DATA + "evaluation.shot": (*ABOVE_0, "1000000000"),
    DATA + "evaluation.val_episodes": ABOVE_0,
    DATA + "evaluation.file": ("absent.npz", "photos", "run.yaml"),
    DATA + "batch_size": ABOVE_0,
    DATA + "num_workers": ("many", "-1", "0.5"),
    DATA + "n_unlabeled": ("many", "-1", "0.5", "3"),
    DATA + "channels": ("many", "2", "0", "-1"),
    DATA + "min_images": ("many", "-1"),
    DATA + "batches": WORD,
    DATA + "device": ("nonsense", "3", ""),
    DATA + "splits": ("absent.csv", "run.yaml", "model.ckpt"),
    DATA + "split_seed": ("many", "0.5"),
    DATA + "root": ("", "absent", "run.yaml", "/dev/null"),
    DATA + "cache_dir": ("", "run.yaml", "run.yaml/below", "/proc/none"),
    DATA + "mirror": ("http://nowhere.invalid",),
    DATA + "download": ("true", "perhaps"),
    MODEL + "backbone": ("Nonsense", "psst.backbones.Conv5", "torch.nn.Flatten", "3", "a b"),
    MODEL + "backbone.init_args.hidden": ABOVE_0,
    MODEL + "main": ("psst.tasks.Rotation", "psst.tasks.Nonsense", "7"),
    MODEL + "main.init_args.head": ("psst.fewshot.Nonsense", "psst.tasks.Rotation"),
    MODEL + "auxiliary": ("psst.tasks.Nonsense", "[psst.backbones.Conv4]", "7", "[]"),
    MODEL + "optimizer": ("torch.optim.Adan", "psst.backbones.Conv4"),
    MODEL + "optimizer.init_args.lr": REAL,
    MODEL + "optimizer.init_args.weight_decay": ("much", "-1"),
    MODEL + "batch_stats": WORD,
    MODEL + "active": ("{rotation: [5, 2]}", "{nonsense: [0, 2]}", "{rotation: [-1, 2]}"),
    "seed_everything": (*NO_NUMBER, "-5", "0.5", "99999999999999999999"),
    "trainer.max_steps": (*NO_NUMBER, "0.5", "-7"),
    "trainer.accelerator": ("gppu", "cuda"),
    "trainer.devices": ("0", "-3"),
    "trainer.precision": ("17", "nonsense"),
    "trainer.strategy": ("nonsense",),
    "trainer.max_time": ("nonsense",),
    "trainer.callbacks": ("EarlyStopping", "Nonsense", "7"),
    "trainer.gradient_clip_val": ("much", "nan"),
    "trainer.accumulate_grad_batches": ("0", "-1", "many"),
    "trainer.check_val_every_n_epoch": ("0", "-1", "many"),
    "trainer.log_every_n_steps": ("many", "0.5"),
}
NAMED = {  # by what else a key is known to whoever refuses it
    MODEL + "optimizer.init_args.lr": "optimizer",
    MODEL + "optimizer.init_args.weight_decay": "optimizer",
    "trainer.max_time": "nonsense",
}
CALLBACK = {
    "tradeoff": ("1.5", "-0.1", "nan", "much"),
    "method": ("nonsense", "7"),
    "scope": WORD,
    "accumulate": WORD,
    "ema": ("1.5", "-1", "much"),
    "main": ("nonsense",),
    "shared": ("[nonsense]", "7"),
    "levels": ("{rotation: -1}", "{nonsense: 0.2}", "7"),
    "nonsense": ("1",),
}
SEARCH = {
    "course": WORD,
    "rivals": ("[nonsense]", "[own]", "7"),
    "methods": ("[nonsense]", "[ray]", "7", "{a: 1}"),
    "levels": ("{nonsense: [0.1]}", "{rotation: much}", "{rotation: [-1]}", "{rotation: []}", "7"),
    "vary": ("{rate: []}", "{rate: [0.3]}", "{nonsense.key: [1, 2]}", "7"),
    "own": ("{a: [1]}",),
    "rays": WHOLE,
    "ray_method": WORD,
    "threads": ABOVE_0,
    "least_steps": ABOVE_0,
    "renewal_batches": ABOVE_0,
    "checkpoint_every": ABOVE_0,
    "looks": (
        "[{at: 1.5}]",
        "[{at: 0.5, folds: 3}]",
        "[{length: 0}]",
        "[{tries: nonsense}]",
        "[{a: 1}]",
        "7",
    ),
}


def values() -> Iterator[Case]:
    for key, wrong in VALUES.items():
        for value in wrong:
            named = NAMED.get(key, key if key.startswith(("data", "seed")) else key.rpartition(".")[2])
            yield Case(f"fit --{key} {value}", (*FIT, f"--{key}={value}"), (named,))
    for name, wrong in CALLBACK.items():
        for value in wrong:
            callback = f"[{{class_path: psst.callbacks.PSSTCallback, init_args: {{{name}: {value}}}}}]"
            yield Case(f"callback {name} {value}", (*FIT, f"--trainer.callbacks={callback}"), (name,))
    for name, wrong in SEARCH.items():
        for value in wrong:
            words = ("search", "--plan", "--config", "run.yaml", f"--search.{name}={value}")
            yield Case(f"search.{name} {value}", words, (f"search.{name}",))


# --- wrong keys --------------------------------------------------------------------------------------------

KEYS = {
    "trainer.max_steps": "1",
    "seed_everything": "1",
    "search.course": "grid",
    "data.init_args.size": "16",
    "data.init_args.episodes.query": "1",
    "data.init_args.evaluation.val_episodes": "2",
    "model.init_args.batch_stats": "main",
    "model.init_args.backbone.init_args.hidden": "2",
    "model.init_args.main.init_args.head.init_args.metric": "cosine",
    "model.init_args.optimizer.init_args.weight_decay": "0.1",
}


def keys() -> Iterator[Case]:
    """Each word of a dotted key in its turn lacks a letter; the right word is offered."""
    for key, value in KEYS.items():
        parts = key.split(".")
        for place, right in enumerate(parts):
            wrong = right[:2] + right[3:]
            typed = ".".join([*parts[:place], wrong, *parts[place + 1 :]])
            words = ("search", "--plan") if key.startswith("search") else ("fit",)
            for how in ("option", "file"):
                yield _keyed(how, words, typed, value, (wrong, "did you mean `", f"{right}`?"))


def _keyed(how: str, command: tuple[str, ...], key: str, value: str, names: tuple[str, ...]) -> Case:
    if how == "option":
        return Case(f"wrong key --{key}", (*command, "--config", "run.yaml", f"--{key}={value}"), names)

    def change(root: Path) -> None:
        content: object = yaml.safe_load(value)
        for part in reversed(key.split(".")):
            content = {part: content}
        (root / "more.yaml").write_text(yaml.safe_dump(content))

    words = (*command, "--config", "run.yaml", "--config", "more.yaml")
    return Case(f"wrong key in a file {key}", words, (*names, "`more.yaml`, line "), change)


# --- files that are something else -------------------------------------------------------------------------


def absent(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def folder(path: Path) -> None:
    absent(path)
    path.mkdir()


def pipe(path: Path) -> None:
    absent(path)
    os.mkfifo(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def holding(content: bytes) -> Change:
    return lambda path: path.write_bytes(content)


def _archive(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "nothing")
    return buffer.getvalue()


DAMAGE: dict[str, Change] = {
    "absent": absent,
    "a folder": folder,
    "a pipe": pipe,
    "cut in half": cut,
    "empty": holding(b""),
    "a web page": holding(b"<!DOCTYPE html><html><title>404</title></html>"),
    "noise": holding(np.random.default_rng(0).bytes(4000)),
    "deep JSON": holding(b"[" * 100_000),
    "a list": holding(b"[1, 2]"),
    "a number": holding(b"7"),
    "a zip archive": holding(_archive("a.txt")),
    "Latin-1": holding("größe: 1".encode("latin1")),
}
OF_TEXT = (
    "absent",
    "a folder",
    "a pipe",
    "a web page",
    "noise",
    "deep JSON",
    "a list",
    "a number",
    "Latin-1",
)
OF_BYTES = tuple(name for name in DAMAGE if name not in ("a list", "Latin-1"))
OF_FOLDERS = ("store", "classifier", "encoder", "b/")  # one of their files speaks for all
PLACES: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {
    ("fit", "--config", "run.yaml"): ("run.yaml", (*OF_TEXT, "empty")),
    ("search", "--config", "run.yaml"): ("run.yaml", (*OF_TEXT, "empty")),
    ("transfer", "model.ckpt", "run.yaml"): ("run.yaml", (*OF_TEXT, "empty")),
    ("reproduce", "recipe.yaml"): ("recipe.yaml", (*OF_TEXT, "empty")),
    ("reproduce", "recipe.yaml", "--keys", "run.yaml"): ("run.yaml", OF_TEXT),
    ("import", "weights.pth", "--config", "run.yaml"): ("run.yaml", (*OF_TEXT, "empty")),
    ("export", "model.ckpt", "--output", "out", "--calibrate", "run.yaml"): ("run.yaml", (*OF_TEXT, "empty")),
    TEST: ("model.ckpt", OF_BYTES),
    ("predict", *TEST[1:]): ("model.ckpt", OF_BYTES),
    ("transfer", "model.ckpt", "run.yaml", "--way", "2"): ("model.ckpt", OF_BYTES),
    ("export", "model.ckpt", "--output", "out"): ("model.ckpt", OF_BYTES),
    ("one-shot-runs", "model.ckpt", "pictures"): ("model.ckpt", OF_BYTES),
    ("import", "weights.pth", "--config", "run.yaml", "--output", "new.ckpt"): ("weights.pth", OF_BYTES),
    ("compare", "a", "b"): ("b/test_scores.npz", OF_BYTES),
    ("data", "verify", "store"): ("store/meta.json", (*OF_BYTES, "a list")),
    ("data", "verify", "store", "--level", "1"): ("store/images.npy", OF_BYTES),
    ("data", "verify", "store", "--level", "2"): ("store/labels.npy", OF_BYTES),
    ("classify", "classifier", "pictures"): ("classifier/classifier.json", (*OF_BYTES[1:], "a list")),
    ("classify", "classifier", "pictures", "--unknown", "0.1"): ("classifier/support.npz", OF_BYTES),
    ("classify", "classifier", "pictures", "--unknown", "0.2"): (
        "classifier/config.json",
        (*OF_BYTES, "a list"),
    ),
    ("classify", "classifier", "pictures", "--unknown", "0.3"): ("classifier/model.safetensors", OF_BYTES),
    ("classify", "classifier", "pictures/ant/0.png"): ("pictures/ant/0.png", OF_BYTES),
    ("classify", "pictures", "pictures/ant/0.png", "--encoder", "encoder"): (
        "encoder/model.safetensors",
        OF_BYTES,
    ),
    ("adapt", "pictures", "--encoder", "encoder", "--output", "new"): ("pictures/ant/0.png", OF_BYTES[3:]),
    ("data", "prepare", "--config", "run.yaml"): ("photos/train/ant/0.png", OF_BYTES[3:]),
}


def files() -> Iterator[Case]:
    for words, (name, kinds) in PLACES.items():
        for kind in kinds:
            named = name.partition("/")[0] if name.startswith(OF_FOLDERS) else name

            def change(root: Path, name: str = name, kind: str = kind) -> None:
                DAMAGE[kind](root / name)

            yield Case(f"{' '.join(words)}: {name} is {kind}", words, (named,), change)


# --- YAML --------------------------------------------------------------------------------------------------

_EXPLODING = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = {
    "a tab": "trainer:\n\tmax_steps: 1\n",
    "a bracket left open": "trainer: {max_steps: 1\n",
    "an unknown tag": "trainer: !mine {max_steps: 1}\n",
    "a tag of Python": "trainer: !!python/object/apply:os.system [true]\n",
    "a cyclic alias": "data: &a\n  init_args: *a\n",
    "a cyclic list": "trainer: {callbacks: &a [*a]}\n",
    "exploding aliases": _EXPLODING + "data: {init_args: {root: *i}}\n",
    "an alias of nothing": "trainer: *nothing\n",
    "two documents": "trainer: {max_steps: 1}\n---\ntrainer: {max_steps: 2}\n",
    "a key twice": "trainer: {max_steps: 1}\ntrainer: {max_steps: 1}\n",
    "a section that is a list": "trainer: [1]\n",
    "a section that is a number": "data: 7\n",
    "a section that is null": "model: null\n",
    "a key that is a number": "7: 1\n",
    "a date": "data: {init_args: {size: 2026-01-01}}\n",
    "a nul": "trainer: {max_steps: 1}\0\n",
    "class_path missing": "model: {init_args: {backbone: {init_args: {hidden: 2}, class_path: null}}}\n",
    "class_path twice below": "data: {class_path: {class_path: psst.datamodules.Glyphs}}\n",
}


def texts() -> Iterator[Case]:
    for kind, text in TEXTS.items():
        for words in (FIT, ("search", "--plan", "--config", "run.yaml")):

            def change(root: Path, text: str = text) -> None:
                (root / "odd.yaml").write_text(text)

            names = ("model",) if kind == "a section that is null" else ("odd.yaml",)
            yield Case(f"{words[0]} with {kind}", (*words, "--config", "odd.yaml"), names, change)


# --- folders of images -------------------------------------------------------------------------------------


def _write(name: str, content: bytes) -> Change:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return change


def _both(*changes: Change) -> Change:
    return lambda root: [change(root) for change in changes]


def _only(*names: str, images: int = 3, root: str = "photos") -> Change:
    def change(place: Path) -> None:
        shutil.rmtree(place / root)
        (place / root).mkdir()
        put_pictures(place / root, names, images)

    return change


def _pipe(name: str) -> Change:
    return lambda root: os.mkfifo(root / name)


FOLDERS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "empty": (_only(), ("photos",)),
    "two classes": (_only("ant", "bee"), ("photos",)),
    "no test split": (lambda root: absent(root / "photos" / "test"), ("photos", "test")),
    "one class to validate on": (lambda root: absent(root / "photos" / "val" / "eel"), ("val",)),
    "one image a class": (
        _only("train/a", "train/b", "val/c", "val/d", "test/e", "test/f", images=1),
        ("1",),
    ),
    "a class in two splits": (lambda root: put_pictures(root / "photos", ["val/ant"], 3), ("ant",)),
    "a pipe beside images": (_pipe("photos/train/ant/9.jpg"), ("photos/train/ant/9.jpg",)),
    "a pipe only": (_both(_only(), _pipe("photos/a.jpg")), ("photos",)),
    "a damaged image": (_write("photos/train/ant/9.png", b"\x89PNG\r\n\x1a\n"), ("photos/train/ant/9.png",)),
    "a damaged image with a newline": (_write("photos/train/ant/9\n9.png", b"nothing"), (r"9\n9.png",)),
    "a web page as an archive": (_both(_only(), _write("photos/a.zip", b"<html>")), ("web page",)),
    "text as an image": (_write("photos/train/ant/9.jpg", b"hello"), ("photos/train/ant/9.jpg",)),
    "a link out": (lambda root: (root / "photos/train/ant/9.png").symlink_to("/etc/hostname"), ("9.png",)),
    "a link to itself": (lambda root: (root / "photos/train/ant/9.png").symlink_to("9.png"), ("9.png",)),
    "a zip that leads out": (_both(_only(), _write("photos/a.zip", _archive("../a.png"))), ("a.zip",)),
}

RUNS_CODE = b"cos\nsystem\n(S'touch here'\ntR."
SETS: dict[str, tuple[str, Callable[[], dict[str, bytes]]]] = {
    "a tar with a link": ("ImageFolder", lambda: {"a.tar": _tar("ant/1.png", tarfile.SYMTYPE)}),
    "a tar with a device": ("ImageFolder", lambda: {"a.tar": _tar("ant/1.png", tarfile.CHRTYPE)}),
    "a tar with an absolute name": ("ImageFolder", lambda: {"a.tar": _tar("/etc/1.png", tarfile.REGTYPE)}),
    "a tar with a link under a published name": (
        "CUB --data.init_args.split=feat",
        lambda: {"CUB_200_2011.tgz": _tar("CUB_200_2011/images.txt", tarfile.SYMTYPE)},
    ),
    "pickles with code": (
        "MiniImageNet",
        lambda: {f"mini-imagenet-cache-{split}.pkl": RUNS_CODE for split in ("train", "val", "test")},
    ),
}


def _tar(name: str, kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in ("ant/0.png", name):
            info = tarfile.TarInfo(member)
            info.type = kind if member == name else tarfile.REGTYPE
            info.linkname = "/etc/hostname" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info)
    return buffer.getvalue()


def data_sets() -> Iterator[Case]:
    for kind, (data, made) in SETS.items():
        files = made()
        change = _both(*(_write(f"set/{name}", content) for name, content in files.items()))
        name, *more = data.split()
        words = ("data", "prepare", f"--data=psst.datamodules.{name}", "--data.init_args.root=set", *more)
        yield Case(f"data prepare: {kind}", words, (f"set/{next(iter(files))}",), change)


def image_folders() -> Iterator[Case]:
    for kind, (change, names) in FOLDERS.items():
        yield Case(f"fit on a folder: {kind}", FIT, names, change)
        yield Case(f"search on a folder: {kind}", ("search", "--config", "run.yaml"), names, change)
    for kind, rows in LISTS.items():
        words = (*FIT, "--data.init_args.splits=list.csv")
        yield Case(f"a list with {kind}", words, ("list.csv",), _rows(rows))


ROW = ("train/ant/0.png", "ant", "train")
LISTS: dict[str, list[tuple[str, ...]]] = {
    "nothing": [],
    "a head only": [("image", "class", "split")],
    "other columns": [("a", "b", "c"), ROW],
    "a short row": [("image", "class", "split"), ROW[:1]],
    "an unknown split": [("image", "class", "split"), (*ROW[:2], "trian")],
    "an absent image": [("image", "class", "split"), ("train/ant/77.png", "ant", "train")],
    "an absolute path": [("image", "class", "split"), ("/etc/hostname", "ant", "train"), ROW],
    "an image twice": [("image", "class", "split"), ROW, (ROW[0], "ant", "val")],
    "a class that is not there": [("class", "split"), ("ant", "train"), ("yak", "val"), ("bee", "test")],
}


def _rows(rows: list[tuple[str, ...]]) -> Change:
    def change(root: Path) -> None:
        with (root / "list.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    return change


# --- what was computed before ------------------------------------------------------------------------------


def _checkpoint(edit: Callable[[dict], object]) -> Change:
    def change(root: Path) -> None:
        content = torch.load(root / "model.ckpt", weights_only=True)
        edit(content)
        torch.save(content, root / "model.ckpt")

    return change


WEIGHT = "encoder.backbone.layers.0.0.weight"
CHECKPOINTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "nothing": (lambda content: content.clear(), "model.ckpt"),
    "no weights": (lambda content: content.pop("state_dict"), "model.ckpt"),
    "no weights at all": (lambda content: content["state_dict"].clear(), "model.ckpt"),
    "a list of weights": (lambda content: content.update(state_dict=[1]), "model.ckpt"),
    "no description": (lambda content: content.pop("hyper_parameters"), "model.ckpt"),
    "a description that is a list": (lambda content: content.update(hyper_parameters=[1]), "model.ckpt"),
    "an unknown backbone": (
        lambda content: content["hyper_parameters"]["backbone"].update(class_path="psst.backbones.Nonsense"),
        "Nonsense",
    ),
    "another class path": (
        lambda content: content["hyper_parameters"]["backbone"].update(class_path="os.system"),
        "os.system",
    ),
    "an impossible shape": (
        lambda content: content["hyper_parameters"].update(image_shape=[3, 0, 0]),
        "model.ckpt",
    ),
    "a format to come": (lambda content: content.update(psst_format=99), "99"),
    "a tensor less": (lambda content: content["state_dict"].pop(next(iter(_weights(content)))), "weight"),
    "a tensor of another shape": (
        lambda content: content["state_dict"].update({next(iter(_weights(content))): torch.zeros(1)}),
        "weight",
    ),
    "NaN": (lambda content: content["state_dict"][next(iter(_weights(content)))].fill_(torch.nan), "weight"),
    "infinity": (
        lambda content: content["state_dict"][next(iter(_weights(content)))].fill_(torch.inf),
        "weight",
    ),
}
DESCRIBED = ("an unknown backbone", "another class path", "an impossible shape")
READERS = {
    "test": TEST,
    "export": ("export", "model.ckpt", "--output", "out"),
    "transfer": ("transfer", "model.ckpt", "run.yaml"),
}


def _weights(content: dict) -> Iterator[str]:
    return (key for key in content["state_dict"] if key.endswith("weight") and "backbone" in key)


def checkpoints() -> Iterator[Case]:
    for kind, (edit, name) in CHECKPOINTS.items():
        for command, words in READERS.items():
            if command == "test" and kind in DESCRIBED:
                continue  # the config says what the model is
            names = ("model.ckpt", name)
            yield Case(f"{command} a checkpoint with {kind}", words, names, _checkpoint(edit))


def _meta(edit: Callable[[dict], object]) -> Change:
    def change(root: Path) -> None:
        path = root / "store" / "meta.json"
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    return change


METAS: dict[str, Callable[[dict], object]] = {
    "no format": lambda meta: meta.pop("format"),
    "a format to come": lambda meta: meta.update(format=99),
    "no checksums": lambda meta: meta.pop("sha256"),
    "checksums of nothing": lambda meta: meta.update(sha256={}),
    "a class in two splits": lambda meta: meta["splits"].update(test=meta["splits"]["train"]),
    "a class that is not there": lambda meta: meta["splits"].update(test=[99]),
    "std below 0": lambda meta: meta.update(std=[-1.0, 0.0, 0.0]),
    "mean of NaN": lambda meta: meta.update(mean=[float("nan")] * 3),
    "a mean that is a word": lambda meta: meta.update(mean="much"),
    "another count": lambda meta: meta.update(count=1),
    "no names": lambda meta: meta.pop("class_names"),
    "another name": lambda meta: meta["class_names"].reverse(),
}


def stores() -> Iterator[Case]:
    for kind, edit in METAS.items():
        for action in ("verify", "info"):
            harmless = action == "info" and kind in ("another name", "checksums of nothing")
            if not harmless:
                yield Case(f"data {action}: {kind}", ("data", action, "store"), ("store",), _meta(edit))


def _scores(**changes: object) -> Change:
    def change(root: Path) -> None:
        made = {"accuracies": [0.5, 0.25, 1.0], **changes}
        group = made.pop("group", "all")
        save_scores(root / "b" / "test_scores.npz", {group: scores(made.pop("accuracies"), **made)})

    return change


SCORES: dict[str, Change] = {
    "NaN": _scores(accuracies=[0.5, np.nan, 1.0]),
    "accuracies of 7": _scores(accuracies=[0.5, 7.0, 1.0]),
    "accuracies below 0": _scores(accuracies=[0.5, -1.0, 1.0]),
    "infinity": _scores(accuracies=[0.5, np.inf, 1.0]),
    "other episodes": _scores(stream="t"),
    "fewer episodes": _scores(accuracies=[0.5, 0.25]),
    "no episodes": _scores(accuracies=[]),
    "another group": _scores(group="some"),
    "no groups": lambda root: np.savez(root / "b" / "test_scores.npz", format=1, groups=np.array([], str)),
}


def compared() -> Iterator[Case]:
    for kind, change in SCORES.items():
        yield Case(f"compare with {kind}", ("compare", "a", "b"), ("b",), change)


# --- the words of each command -----------------------------------------------------------------------------

LINES: dict[str, tuple[str, ...]] = {  # the line -> what the answer names
    "nonsense": ("nonsense",),
    "fit": ("model",),
    "fit --config": ("--config",),
    "fit --config absent": ("absent",),
    "fit run.yaml": ("run.yaml",),
    "test --config run.yaml": ("--ckpt_path",),
    "validate --config run.yaml": ("--ckpt_path",),
    "predict --config run.yaml": ("--ckpt_path",),
    "fit --config run.yaml --ckpt_path absent": ("absent",),
    "search --config run.yaml --output run.yaml": ("--output run.yaml",),
    "search --config run.yaml --output run.yaml/below": ("run.yaml/below",),
    "search --config run.yaml --workers 0": ("--workers 0",),
    "search --config run.yaml --workers many": ("--workers",),
    "search --config run.yaml --engine nonsense": ("--engine",),
    "search --config run.yaml --budget nonsense": ("--budget nonsense",),
    "search --config run.yaml --budget -3h": ("--budget",),
    "search --config run.yaml --budget 0s": ("--budget 0s",),
    "search --config run.yaml --budget-steps 0": ("--budget-steps 0",),
    "search --config run.yaml --budget-steps -1": ("--budget-steps -1",),
    "search --config run.yaml --budget 1h --budget-steps 5": ("--budget", "--budget-steps"),
    "search --plan --config run.yaml --trainer.max_steps 0": ("trainer.max_steps=0",),
    "search --plan": ("model",),
    "export": ("checkpoint",),
    "export model.ckpt": ("output",),
    "export model.ckpt --output run.yaml": ("--output run.yaml",),
    "export model.ckpt --output photos": ("--output photos",),
    "export model.ckpt --output photos --overwrite": ("--output photos",),
    "export model.ckpt --output run.yaml/below": ("run.yaml/below",),
    "export model.ckpt --output /proc/none/out": ("/proc/none/out",),
    "export model.ckpt --output out --images absent --onnx": ("absent",),
    "export model.ckpt --output out --onnx": ("--images",),
    "export model.ckpt --output out --calibrate absent": ("absent",),
    "adapt": ("folder",),
    "adapt absent --encoder encoder --output new": ("absent",),
    "adapt run.yaml --encoder encoder --output new": ("run.yaml",),
    "adapt pictures": ("encoder",),
    "adapt pictures --encoder nonsense --output new": ("nonsense",),
    "adapt pictures --encoder pictures --output new": ("pictures",),
    "adapt pictures --encoder timm:nonsense --output new": ("nonsense",),
    "adapt pictures --encoder resnet18@absent --output new": ("absent",),
    "adapt pictures --encoder encoder --output photos": ("photos",),
    "adapt pictures --encoder encoder --output run.yaml": ("run.yaml",),
    "adapt pictures --encoder encoder --output run.yaml/below": ("run.yaml/below",),
    "adapt pictures --encoder encoder --pattern ( --output new": ("--pattern",),
    "adapt pictures --encoder encoder --pattern nonsense --output new": ("--pattern",),
    "adapt pictures --encoder encoder --pattern (.) --level 1 --output new": ("pattern", "level"),
    "adapt pictures --encoder encoder --level 9 --output new": ("--level",),
    "adapt pictures --encoder encoder --level many --output new": ("level",),
    "adapt pictures --encoder encoder --cache run.yaml --output new": ("--cache=run.yaml",),
    "classify": ("examples",),
    "classify classifier": ("images",),
    "classify classifier absent": ("absent",),
    "classify absent pictures": ("absent",),
    "classify absent pictures --encoder encoder": ("absent",),
    "classify pictures pictures": ("--encoder",),
    "classify pictures pictures --encoder absent": ("absent",),
    "classify pictures/ant pictures --encoder encoder": ("pictures/ant",),
    "classify classifier pictures --unknown 7": ("unknown",),
    "classify classifier pictures --unknown -1": ("unknown",),
    "classify classifier pictures --unknown nan": ("unknown",),
    "classify classifier pictures --unknown much": ("unknown",),
    "classify classifier pictures --output out.txt": ("--output out.txt",),
    "classify classifier pictures --output photos": ("--output photos",),
    "classify classifier pictures --output absent/out.csv": ("absent/out.csv",),
    "classify classifier pictures --output run.yaml/out.csv": ("run.yaml/out.csv",),
    "classify classifier store": ("store",),
    "data": ("action",),
    "data nonsense photos": ("nonsense",),
    "data info": ("path",),
    "data info absent": ("absent",),
    "data info photos --pattern (": ("pattern",),
    "data info photos --pattern nonsense": ("pattern",),
    "data info photos --level 9": ("level",),
    "data info photos --level 0": ("level",),
    "data info photos --column nonsense": ("column",),
    "data verify photos": ("photos",),
    "data verify absent": ("absent",),
    "data prepare": ("data",),
    "data prepare --data nonsense": ("nonsense",),
    "data prepare --data psst.datamodules.Nonsense": ("Nonsense",),
    "data prepare --data psst.datamodules.ImageFolder": ("root",),
    "data prepare --data psst.datamodules.ImageFolder --data.init_args.root absent": ("absent",),
    "data prepare --data psst.datamodules.Omniglot --data.init_args.root photos": ("photos",),
    "data prepare --data psst.datamodules.MiniImageNet --data.init_args.root photos": ("photos",),
    "data prepare --data psst.datamodules.CUB --data.init_args.root photos": ("data.init_args.split",),
    "data prepare --data psst.datamodules.CifarFS --data.init_args.root photos": ("photos",),
    "data prepare --data psst.datamodules.TieredImageNet --data.init_args.root photos": ("photos",),
    "data features --config run.yaml": ("data.init_args.features",),
    "compare": ("a",),
    "compare a": ("b",),
    "compare a absent": ("absent",),
    "compare a photos": ("photos",),
    "compare a b c": ("c",),
    "transfer model.ckpt": ("data",),
    "transfer model.ckpt absent": ("absent",),
    "transfer model.ckpt run.yaml,absent --shots 1": ("absent",),
    "transfer model.ckpt run.yaml --shots 0": ("--shots 0",),
    "transfer model.ckpt run.yaml --shots 1,a": ("--shots 1,a",),
    "transfer model.ckpt run.yaml --shots 1000": ("shot=1000",),
    "transfer model.ckpt run.yaml --way 0": ("way=0",),
    "transfer model.ckpt run.yaml --way many": ("way",),
    "transfer model.ckpt quickstart": ("quickstart", "channels"),
    "import weights.pth": ("config",),
    "import weights.pth --config absent": ("absent",),
    "import weights.pth --config run.yaml": ("weights.pth",),
    "import model.ckpt --config run.yaml --mean [0.5]": ("--mean",),
    "import model.ckpt --config run.yaml --std [0,0,0]": ("--std",),
    "import model.ckpt --config run.yaml --std [nan,1,1]": ("std",),
    "import model.ckpt --config run.yaml --mean nonsense": ("mean",),
    "import model.ckpt --config run.yaml --output photos": ("photos",),
    "import model.ckpt --config run.yaml --output absent/new.ckpt": ("absent/new.ckpt",),
    "import model.ckpt --config run.yaml --root absent": ("absent",),
    "reproduce": ("name",),
    "reproduce nonsense": ("nonsense",),
    "reproduce run.yaml": ("run.yaml", "recipe"),
    "reproduce recipe.yaml --tiny": ("ImageFolder",),
    "reproduce recipe.yaml --root absent": ("absent",),
    "reproduce recipe.yaml --keys absent.yaml": ("absent.yaml",),
    "reproduce recipe.yaml --seed many": ("seed",),
    "reproduce recipe.yaml --seed -1": ("seed",),
    "reproduce recipe.yaml --output run.yaml": ("run.yaml",),
    "doctor --cache": ("--cache",),
    "doctor --cache run.yaml": ("--cache run.yaml",),
    "doctor nonsense": ("nonsense",),
    "doctor --nonsense 1": ("--nonsense",),
    "one-shot-runs model.ckpt": ("runs",),
    "one-shot-runs model.ckpt absent": ("absent",),
    "one-shot-runs model.ckpt run.yaml": ("run.yaml",),
    "one-shot-runs model.ckpt pictures": ("pictures",),
}


def lines() -> Iterator[Case]:
    for line, names in LINES.items():
        yield Case(line, tuple(line.split()), names)


# --- odd, and right ----------------------------------------------------------------------------------------

ODD_NAMES = ("größe", "有 名", "a b", "-dash", "a.b", "x" * 120, "{curly}", "50%", "'quoted\"", "😀")


def accepted() -> Iterator[Case]:
    six = [f"{split}/{name}" for split in ("train", "val", "test") for name in ODD_NAMES[:2]]
    names = [f"{split}/{name}{split}" for split in ("train", "val", "test") for name in ODD_NAMES]
    yield Case("classes with odd names", FIT, change=_only(*names), accepted=True)
    yield Case("classes of one name in two folders", FIT, ("größe",), change=_only(*six))
    for name in ODD_NAMES:
        change = lambda root, name=name: (root / "pictures").rename(root / name)  # noqa: E731 - one line
        words = ("adapt", f"./{name}", "--encoder", "encoder", "--output", "new")
        yield Case(f"adapt a folder {name}", words, change=change, accepted=True)
    for name in ("photos/train/ant/a.heic", "photos/train/ant/notes.txt", "photos/train/ant/._0.png"):
        yield Case(f"beside images: {name}", FIT, change=_write(name, b"nothing"), accepted=True)
    yield Case("an empty class", FIT, change=lambda root: (root / "photos/train/yak").mkdir(), accepted=True)


def all_cases() -> list[Case]:
    tables = (
        lines,
        values,
        keys,
        files,
        texts,
        image_folders,
        data_sets,
        checkpoints,
        stores,
        compared,
        accepted,
    )
    return [case for table in tables for case in table()]
