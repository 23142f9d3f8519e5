"""The LightningModule of few-shot learning with auxiliary tasks."""

from psst.training.few_shot_module import FewShotModule as FewShotModule
