"""``psst transfer CHECKPOINT DATA``: test a model on other data sets than the one that it was trained on."""

from pathlib import Path
from typing import Any

from psst.commands.arguments import command

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
    from psst.evaluation import evaluate_episodes
    from psst.evaluation.class_draw import mean_accuracy
    from psst.training.experiment import Experiment

    numbers = _numbers(shots)
    module = load_module(checkpoint)
    channels, side, _ = module.image_shape or (0, 0, 0)
    lines = [f"{checkpoint}, trained on {len(module.classes)} classes"]
    runs = [(name, Experiment(["--config", str(find(name))], needs_model=False)) for name in data.split(",")]
    settings = {"data.init_args.size": side}
    if way is not None:
        settings["data.init_args.evaluation.way"] = way
    for name, run in runs:
        embedded = None
        for shot in numbers:
            own = {**settings, "data.init_args.evaluation.shot": shot}
            found: Any = run.with_overrides(own).datamodule()
            if (has := found.image_shape[0]) != channels:
                raise ValueError(
                    f"the images of `{name}` have {has} channels, the model reads {channels}; "
                    "set `data.init_args.channels`, where the data set has it, or train on such images."
                )
            found.prepare_data()
            found.setup("test")
            features, ids = embedded = embedded or module.embed_split(found, "test")
            count, plan = found.eval_episodes("test"), found.episode_plan("test").items()
            told = mean_accuracy(
                {group: evaluate_episodes(features, one, module.head, count, ids) for group, one in plan}
            )
            alone = f"± {100 * told.episode_half_width:.2f} over episodes alone"
            accuracy = f"{100 * told.mean:.2f} ± {100 * told.half_width:.2f} %"
            lines.append(f"{name}, {shot}-shot: {accuracy} over {told.covers} ({alone})")
    return "\n".join(lines)


def _numbers(shots: str) -> list[int]:
    numbers = [int(word) for word in shots.split(",") if word.isdecimal() and int(word) > 0]
    if len(numbers) < len(shots.split(",")):
        raise ValueError(f"`--shots {shots}` must be whole numbers from 1 on, joined by commas, such as 1,5.")
    return numbers
