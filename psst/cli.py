"""The command `psst`: finds the asked command, runs it, and turns a user's mistake into one line on stderr.

Nothing heavy is imported before the command is known, so that ``psst --help`` answers at once.
"""

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

from psst import __version__
from psst.process import begin_process

_COMMANDS = {
    "search": ("psst.commands.search", "find the trade-off: train a front of models, test the chosen one"),
    "fit": ("psst.commands.run", "train one model"),
    "validate": ("psst.commands.run", "evaluate a checkpoint on the validation classes"),
    "test": ("psst.commands.run", "evaluate a checkpoint on the test classes, per-episode scores stored"),
    "predict": ("psst.commands.predict", "save the features of a folder of images beside their file names"),
    "reproduce": ("psst.commands.reproduce", "run a published recipe, print its accuracy beside the paper's"),
    "transfer": ("psst.commands.transfer", "test a checkpoint on other data sets than its own"),
    "compare": (
        "psst.commands.compare",
        "paired difference of two tests on the same episodes, over the draw of classes too",
    ),
    "import": ("psst.commands.import_weights", "make a checkpoint of somebody else's weights"),
    "export": ("psst.commands.export", "write a checkpoint's encoder as safetensors and config.json"),
    "adapt": ("psst.commands.adapt", "choose and train a classifier of the classes in a folder"),
    "classify": ("psst.commands.classify", "the class of each image, from a few examples of every class"),
    "data": ("psst.commands.data", "say what a folder holds; prepare, show or verify an image store"),
    "doctor": ("psst.commands.doctor", "what this environment has, and what does not go together"),
    "one-shot-runs": ("psst.commands.one_shot_runs", "error in the 20 official one-shot runs of Omniglot"),
}

# lines in jsonargparse's account of an error that tell a user nothing
_NOISE = (
    "Does not validate",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a path but",
    "Given value",
    "Not a valid subclass of",
    "Subclass types expect",
    "Subtypes:",
    "a class path (str)",
    "a dict with",
)

# what jsonargparse says of a class that is not of the kind that a key asks for
_WRONG_KIND = re.compile(
    r'Parser key "(?P<key>\w+)": Import path (?P<path>\S+) does not correspond to a subclass of (?P<kind>\w+)'
)
_GIVEN = re.compile(r"Given value: [\w.+-]+")
_ERRNO = re.compile(r"^\[Errno \d+\] ")
_TO_WRITE = {
    "Backbone": "psst.backbones.Backbone with `make(image_shape)`, which makes the network and returns the "
    "length of its features, and `forward(images)`, which returns them",
    "Head": "psst.fewshot.Head with `forward(support, support_labels, query, n_way)`, which returns logits",
    "MainTask": "psst.tasks.MainTask with `name = 'main'` and `loss(batch, encode, draws)`",
    "Task": "psst.tasks.Task with a `name` and `loss(batch, encode, draws)`",
}

_EXAMPLES = """\
examples:
  psst search --config quickstart --output runs/quickstart
  psst fit --config quickstart --trainer.max_steps 100
  psst export runs/quickstart/best.ckpt --output encoder

`psst COMMAND --help` explains a command. PSST_TRACEBACK=1 shows where an error was raised."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that some words, or those of this process, ask for.

    Returns:
        Exit status: 0, 2 after a mistake of the user's, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"psst {__version__}\n")
        return 0
    if words[0] not in _COMMANDS:
        from psst.commands.nearest import nearest

        meant = nearest(words[0], _COMMANDS)
        known = f"did you mean `{meant}`?" if meant else f"known are: {', '.join(_COMMANDS)}."
        return _refuse(f"unknown command `{words[0]}`; {known}")
    here = os.getcwd()  # noqa: PTH109 - a class in ./mine.py is found as `mine.Class`, installed ones come first
    if here not in sys.path:
        sys.path.append(here)
    begin_process()
    return _run(words)


def _run(words: list[str]) -> int:
    bare = os.environ.get("PSST_TRACEBACK") == "1"
    try:
        return int(import_module(_COMMANDS[words[0]][0]).main(words))
    except KeyboardInterrupt:
        if bare:
            raise
        return _refuse("interrupted.", status=130)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit status 1
            return _refuse("interrupted.", status=130)
        raise
    except Exception as error:
        if bare or not _is_users(error):
            raise
        return _refuse(_paragraph(error, words))


def _is_users(error: Exception) -> bool:
    """Whether an error speaks to the user; anything else is a defect of ours and keeps its traceback."""
    if isinstance(error, (ValueError, TypeError, OSError, ArithmeticError, RuntimeError)):
        return True
    if isinstance(error, ImportError) and "pip install" in str(error):  # ours: an extra is missing
        return True
    return type(error).__name__ in ("MisconfigurationException", "ArgumentError")  # Lightning, jsonargparse


def _paragraph(error: Exception, words: Sequence[str]) -> str:
    text = _ERRNO.sub("", str(error).strip()) or type(error).__name__
    if type(error).__name__ != "ArgumentError" and not text.startswith(_NOISE):
        return text
    text = text.replace(
        "Expected a dot import path string:", "expected a path such as psst.backbones.Conv4, got"
    )
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    given = [line.replace("Given", "Got") for line in lines if _GIVEN.fullmatch(line)]  # the innermost first
    told = " ".join([line for line in lines if line and not line.startswith(_NOISE)] + given[:1])
    wrong = _WRONG_KIND.search(told)
    if wrong is None:
        from psst.commands.nearest import explained

        return explained(told, getattr(error, "known", ()), getattr(error, "configs", ()), words)
    key, path, kind = wrong.group("key", "path", "kind")
    return f"`{key}: {path}` is no {kind}; write a subclass of {_TO_WRITE.get(kind, kind)}."


def _refuse(message: str, status: int = 2) -> int:
    sys.stderr.write(f"psst: {'error: ' if status == 2 else ''}{message}\n")
    return status


def _help() -> str:
    width = max(map(len, _COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in _COMMANDS.items()]
    title = "Few-shot image classifiers trained with self-supervised tasks, the trade-off found by a search."
    return "\n".join(["usage: psst COMMAND [options]", "", title, "", "commands:", *lines, "", _EXAMPLES, ""])
