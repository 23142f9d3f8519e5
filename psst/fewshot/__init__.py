"""Heads that classify the queries of episodes by their supports: one method a file."""

from psst.fewshot.cosine import CosineHead
from psst.fewshot.feat import FEATHead
from psst.fewshot.head import Head
from psst.fewshot.laplacian_shot import LaplacianShotHead
from psst.fewshot.logistic import LogisticHead
from psst.fewshot.matching import MatchingHead
from psst.fewshot.prototypical import PrototypicalHead
from psst.fewshot.rectification import PrototypeRectificationHead
from psst.fewshot.relation import RelationHead
from psst.fewshot.ridge import RidgeHead
from psst.fewshot.simple_shot import SimpleShotHead
from psst.fewshot.svm import SVMHead

__all__ = [
    "Head",
    "PrototypicalHead",
    "CosineHead",
    "MatchingHead",
    "RelationHead",
    "RidgeHead",
    "SVMHead",
    "FEATHead",
    "SimpleShotHead",
    "LogisticHead",
    "PrototypeRectificationHead",
    "LaplacianShotHead",
]
