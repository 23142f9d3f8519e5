"""One run described by YAML and overrides, from which every part can be made afresh, as often as asked."""

import json
from argparse import SUPPRESS
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
import yaml  # type: ignore[import-untyped]  # comes with jsonargparse
from jsonargparse import ArgumentError, Namespace
from pytorch_lightning import Callback, LightningDataModule, Trainer, seed_everything
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from psst.configs import find
from psst.files import write_atomic
from psst.process import has_fast_bf16
from psst.training import FewShotModule

_HARMLESS_TRAINER = (
    "max_steps",
    "log_every_n_steps",
    "default_root_dir",
    "enable_progress_bar",
    "enable_model_summary",
    "enable_checkpointing",
    "logger",
)
_HARMLESS_DATA = ("cache_dir", "num_workers", "download", "mirror", "device", "root")
_Mixed = Literal["auto", "bf16-mixed", "16-mixed", "transformer-engine", "transformer-engine-float16"]
_True = Literal["32-true", "bf16-true", "16-true", "64-true", "32", "bf16", "16", "64", 32, 16, 64]
_Precision = Literal[_Mixed, _True]


class AutoTrainer(Trainer):
    """Lightning's Trainer; with `precision` ``auto`` it mixes in bfloat16 where that is fast.

    Args:
        precision: As of the Trainer; ``auto`` is ``bf16-mixed`` where the device multiplies bfloat16 itself
            (a GPU since Ampere, a processor with avx512_bf16), else ``32-true``.
        accelerator: As of the Trainer.

    Example:
        >>> AutoTrainer(precision="auto", accelerator="cpu").precision in ("bf16-mixed", "32-true")
        True
    """

    def __init__(
        self, *, precision: _Precision | None = None, accelerator: str | Any = "auto", **kwargs: Any
    ) -> None:
        chosen = _fitting(accelerator) if precision == "auto" else precision
        super().__init__(precision=chosen, accelerator=accelerator, **kwargs)


class RunCLI(LightningCLI):
    """LightningCLI as psst uses it: the keys, their defaults, one seed for everything, configs by name.

    Args:
        args: Words of the command line; ``--config`` takes a path or a shipped name.
        search: Type of the settings under ``search:``; None accepts any mapping there unread.
        run: Whether the first word is fit, validate, test or predict and is carried out at once;
            otherwise the words are only parsed, nothing is instantiated.
        needs_model: Whether a run without ``model`` is an error.
        parser_kwargs: As in LightningCLI; `strict` if None.

    Example:
        >>> RunCLI(["--config", "quickstart"], run=False).config["trainer"]["max_steps"]
        200
    """

    strict: ClassVar = {"exit_on_error": False, "allow_abbrev": False}
    """Errors are raised; a key is written out."""

    def __init__(
        self,
        args: Sequence[str],
        search: type | None = None,
        run: bool = True,
        needs_model: bool = True,
        parser_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._search = search
        self._run_now = run
        self._needs_model = needs_model
        self._configs: list[Path] = []  # files that the words name
        super().__init__(
            model_class=FewShotModule,
            trainer_class=AutoTrainer,
            subclass_mode_model=True,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_kwargs=parser_kwargs or self.strict,
            auto_configure_optimizers=False,  # the optimizer is an argument of the module
            load_from_checkpoint_support=False,  # the module keeps descriptions of its parts itself
            args=list(self._resolved(args)),
            run=run,
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed: one for initial parameters, episodes and augmentation."""
        parser.add_argument("--seed_everything", type=int, default=0, help="Seed of everything random.")

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add trainer, model and data as Lightning does, the model optional where it plays no part."""
        parser.add_lightning_class_args(AutoTrainer, "trainer")
        parser.set_defaults({"trainer.default_root_dir": "runs"})
        required = self._needs_model
        parser.add_lightning_class_args(FewShotModule, "model", subclass_mode=True, required=required)
        parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the search's group and a place for a recipe, and hand the seed to module and data."""
        parser.add_argument("--recipe", type=dict[str, Any] | None, help="For `psst reproduce`.")
        left = () if self._run_now else ("ckpt_path", "weights_only")  # by `psst fit` in its config
        for key in left:
            parser.add_argument(f"--{key}", type=None.__class__, help=SUPPRESS)
        if self._search is None:
            parser.add_argument("--search", type=dict[str, Any], default={}, help="For `psst search`.")
        else:
            parser.add_class_arguments(self._search, "search")
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the given words; those of the process play no part. An error gets the keys that there are."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            parsers = [parser, *getattr(self, "_subcommand_parsers", {}).values()]
            known = {option.lstrip("-") for each in parsers for option in each._option_string_actions}
            told: Any = error  # whoever tells the user reads both
            told.known, told.configs = known, self._configs
            raise
        run = self.config.get(self.config.get("subcommand") or "", self.config)
        if not 0 <= (seed := run["seed_everything"]) < 2**32:
            raise ValueError(f"`seed_everything={seed}` must be a whole number from 0 to {2**32 - 1}.")

    def _resolved(self, args: Sequence[str]) -> Iterator[str]:
        """Yield the words with the path of each config in place of its name; raises as `find` does.

        A config of several lines is no name: it is the YAML itself, which nobody has to keep in a file.
        """
        words = iter(args)
        for word in words:
            flag, equals, value = word.partition("=")
            if flag in ("--config", "-c") and (value := value if equals else next(words, "")):
                if "\n" not in value:
                    self._configs.append(find(value))
                    value = str(self._configs[-1])
                word = f"{flag}={value}"
            yield word

    def _parse_ckpt_path(self) -> None:
        """Leave the config as it is: a checkpoint has to fit it, not to replace it."""

    def instantiate_classes(self) -> None:
        """Instantiate the parts, if they are to be used at once."""
        if self._run_now:
            super().instantiate_classes()


class Experiment:
    """A parsed run. `module`, `datamodule` and `trainer` each return a new object at every call.

    Args:
        args: Words such as ``["--config", "quickstart", "--trainer.max_steps=5"]``, without a command.
        search: Dataclass of the settings under ``search:``.
        needs_model: Whether a run without ``model`` is an error.

    Raises:
        ArgumentError: An unknown key or an impossible value (from argparse).
        FileNotFoundError: No such config.

    Attributes:
        config: The parsed keys; read only.
        seed: ``seed_everything`` of the run.

    Example:
        >>> experiment = Experiment.from_config("quickstart", {"trainer.max_steps": 5}, dict)
        >>> experiment.trainer().fit(experiment.module(), experiment.datamodule())
    """

    def __init__(self, args: Sequence[str], search: type | None = None, needs_model: bool = True) -> None:
        self._args = list(args)
        self._search, self._needs_model = search, needs_model
        self._varied: dict[str, Experiment] = {}
        cli = RunCLI(self._args, search, run=False, needs_model=needs_model)
        self._parser: LightningArgumentParser = cli.parser
        self.config: Namespace = cli.config
        self.seed: int = self.config["seed_everything"]

    @classmethod
    def from_config(
        cls, config: str | Path, overrides: Mapping[str, object] | None = None, search: type | None = None
    ) -> "Experiment":
        """Parse a YAML file, a shipped run by name or a text of YAML, and dotted keys that override it."""
        return cls(["--config", str(config), *_as_args(overrides or {})], search)

    def with_overrides(self, overrides: Mapping[str, object]) -> "Experiment":
        """Return the same run with dotted keys changed, such as ``{"seed_everything": 1}``."""
        return type(self)([*self._args, *_as_args(overrides)], self._search, self._needs_model)

    def varied(self, options: tuple[tuple[str, Any], ...]) -> "Experiment":
        """Return `with_overrides` of these keys, parsed once; itself for none."""
        if not options:
            return self
        key = json.dumps(options)
        if key not in self._varied:
            self._varied[key] = self.with_overrides(dict(options))
        return self._varied[key]

    @property
    def max_steps(self) -> int:
        """Optimizer steps of one full training; ValueError if the run sets no such number."""
        steps: int | None = self.config["trainer"]["max_steps"]
        if steps is None or steps < 1:
            raise ValueError(f"`trainer.max_steps={steps}` must be at least 1 here; set it in the config.")
        return steps

    def module(self) -> FewShotModule:
        """Return a new module; its parameters depend on the seed alone."""
        seed_everything(self.seed, workers=True, verbose=False)
        return cast(FewShotModule, self._instantiate("model"))

    def datamodule(self) -> LightningDataModule:
        """Return a new datamodule; ValueError if the run names no data."""
        if self.config.get("data") is None:
            raise ValueError("`data` is missing; name a data set with `--data psst.datamodules.Glyphs`.")
        return cast(LightningDataModule, self._instantiate("data"))

    def trainer(
        self,
        extra_callbacks: Sequence[Callback] = (),
        without: type[Callback] | tuple[type[Callback], ...] = (),
        **overrides: Any,
    ) -> Trainer:
        """Return a new trainer, with callbacks beside those of the run or `without` some types of them.

        Other arguments stand in place of the run's.
        """
        settings = self._instantiate("trainer").as_dict()
        callbacks = overrides.pop("callbacks", settings["callbacks"]) or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        kept = [callback for callback in callbacks if not isinstance(callback, without)]
        return AutoTrainer(**{**settings, **overrides, "callbacks": [*kept, *extra_callbacks]})

    def settings(self) -> Any:
        """Return the settings under ``search:`` as an object of the type given, or as a dict."""
        return self._instantiate("search")

    def yaml(self) -> str:
        """Return the whole run as YAML that `from_config` reads back."""
        return str(self._parser.dump(self.config, skip_unset=False))

    def identity(self) -> str:
        """Return as YAML what the units of a search depend on: model, data and seed, not lengths."""
        content: dict[str, Any] = yaml.safe_load(self.yaml())
        trainer, data = dict(content["trainer"]), dict(content["data"] or {})
        for name in _HARMLESS_TRAINER:
            trainer.pop(name, None)
        own = [one for one in trainer.pop("callbacks") or [] if "PSSTCallback" not in one["class_path"]]
        arguments = data.get("init_args", {})
        data["init_args"] = {k: v for k, v in arguments.items() if k not in _HARMLESS_DATA}
        kept = {"seed_everything": content["seed_everything"], "model": content["model"], "data": data}
        return str(yaml.safe_dump({**kept, "trainer": {**trainer, "callbacks": own}}, sort_keys=False))

    def save(self, path: str | Path) -> None:
        """Write `yaml` to a file, whole or not at all; its folder is made if need be."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.yaml())

    def _instantiate(self, key: str) -> Any:
        part = Namespace(**{key: self.config.clone(with_meta=False)[key]})  # type: ignore[no-untyped-call]  # untyped there
        return self._parser.instantiate(part)[key]


def _fitting(accelerator: object) -> Literal["bf16-mixed", "32-true"]:
    if accelerator == "auto" and torch.backends.mps.is_available():
        return "32-true"
    named = {"auto": "cuda" if torch.cuda.is_available() else "cpu", "gpu": "cuda"}
    return "bf16-mixed" if has_fast_bf16(named.get(str(accelerator), str(accelerator))) else "32-true"


def _as_args(overrides: Mapping[str, object]) -> list[str]:
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in overrides.items()}
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in plain.items()
    ]
