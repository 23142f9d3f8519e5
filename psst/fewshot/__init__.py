"""Heads that classify the queries of episodes by their supports: one method a file."""

from psst.fewshot.cosine import CosineHead as CosineHead
from psst.fewshot.feat import FEATHead as FEATHead
from psst.fewshot.head import Head as Head
from psst.fewshot.laplacian_shot import LaplacianShotHead as LaplacianShotHead
from psst.fewshot.logistic import LogisticHead as LogisticHead
from psst.fewshot.matching import MatchingHead as MatchingHead
from psst.fewshot.prototypical import PrototypicalHead as PrototypicalHead
from psst.fewshot.rectification import PrototypeRectificationHead as PrototypeRectificationHead
from psst.fewshot.relation import RelationHead as RelationHead
from psst.fewshot.ridge import RidgeHead as RidgeHead
from psst.fewshot.simple_shot import SimpleShotHead as SimpleShotHead
from psst.fewshot.svm import SVMHead as SVMHead
