"""``psst transfer CHECKPOINT DATA``: test a model on other data sets than the one that it was trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psst.commands.arguments import command

if TYPE_CHECKING:
    from psst.evaluation.class_draw import ClassDifference
    from psst.training import FewShotModule
    from psst.training.experiment import Experiment

_TEXT = """\
Images are brought to the size that the model was made for, and normalized as it was trained; each is embedded
once, whatever the number of settings.

example: psst transfer runs/quickstart/best.ckpt cub.yaml,omniglot_minimal_conv4 --shots 1,5"""


@command(_TEXT)
def main(checkpoint: Path, data: str, *, shots: str = "1,5", way: int | None = None) -> str:
    """Accuracy on the test classes of each data set, with its interval over classes and over episodes alone.

    Args:
        checkpoint: Of a FewShotModule.
        data: YAML files with a `data:` each, or shipped runs or recipes by name, joined by commas.
        shots: Support images a class, joined by commas.
        way: Classes of an episode; that of each data set if not given.
    """
    from psst.configs import find
    from psst.deploy.export import load_module
    from psst.training.experiment import Experiment

    numbers = _numbers(shots)
    module = load_module(checkpoint)
    lines = [f"{checkpoint}, trained on {len(module.classes)} classes"]
    runs = [(name, Experiment(["--config", str(find(name))], needs_model=False)) for name in data.split(",")]
    for name, run in runs:
        for shot, found in zip(numbers, accuracies(module, run, name, numbers, way), strict=True):
            alone = f"± {100 * found.episode_half_width:.2f} over episodes alone"
            accuracy = f"{100 * found.mean:.2f} ± {100 * found.half_width:.2f} %"
            lines.append(f"{name}, {shot}-shot: {accuracy} over {found.covers} ({alone})")
    return "\n".join(lines)


def accuracies(
    module: "FewShotModule", run: "Experiment", name: str, shots: list[int], way: int | None
) -> "list[ClassDifference]":
    """Return the accuracy in [0, 1] on the test classes of a run's data, for each number of shots.

    `module` is in evaluation mode, `name` that of the run; `way` is None for that of the run.
    """
    from psst.evaluation import evaluate_episodes
    from psst.evaluation.class_draw import mean_accuracy

    channels, side, _ = module.image_shape or (0, 0, 0)
    settings = {} if way is None else {"data.init_args.evaluation.way": way}
    embedded, found = None, []
    for shot in shots:
        own = {"data.init_args.size": side, "data.init_args.evaluation.shot": shot, **settings}
        data: Any = run.with_overrides(own).datamodule()
        if data.image_shape[0] != channels:
            raise ValueError(
                f"the images of `{name}` have {data.image_shape[0]} channels, the model reads {channels}; "
                "set `data.init_args.channels`, where the data set has it, or train on such images."
            )
        data.prepare_data()
        data.setup("test")
        features, ids = embedded = embedded or module.embed_split(data, "test")
        count, plan = data.eval_episodes("test"), data.episode_plan("test").items()
        scores = {
            group: evaluate_episodes(features, sampler, module.head, count, ids) for group, sampler in plan
        }
        found.append(mean_accuracy(scores))
    return found


def _numbers(shots: str) -> list[int]:
    numbers = [int(word) for word in shots.split(",") if word.isdecimal() and int(word) > 0]
    if len(numbers) < len(shots.split(",")):
        raise ValueError(f"`--shots {shots}` must be whole numbers from 1 on, joined by commas, such as 1,5.")
    return numbers
