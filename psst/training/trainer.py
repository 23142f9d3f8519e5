"""Lightning's Trainer with `precision: auto`."""

from typing import Any, Literal

import torch
from pytorch_lightning import Trainer

from psst.process import has_fast_bf16

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
        self,
        *,
        precision: _Precision | None = None,
        accelerator: str | Any = "auto",
        **kwargs: Any,
    ) -> None:
        chosen = _fitting(accelerator) if precision == "auto" else precision
        super().__init__(precision=chosen, accelerator=accelerator, **kwargs)


def _fitting(accelerator: object) -> Literal["bf16-mixed", "32-true"]:
    named = {"auto": "cuda" if torch.cuda.is_available() else "cpu", "gpu": "cuda"}
    if accelerator == "auto" and torch.backends.mps.is_available():
        return "32-true"
    return "bf16-mixed" if has_fast_bf16(named.get(str(accelerator), str(accelerator))) else "32-true"
