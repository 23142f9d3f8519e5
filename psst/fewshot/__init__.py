"""Heads that classify the queries of episodes by their supports: one method a file."""

from psst.fewshot.head import Head
from psst.fewshot.prototypical import PrototypicalHead

__all__ = ["Head", "PrototypicalHead"]
