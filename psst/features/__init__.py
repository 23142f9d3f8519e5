"""Features of a frozen encoder, computed once: training reads them in place of images."""

from psst.features.build import build_features as build_features
from psst.features.cached import CachedBatch as CachedBatch
from psst.features.cached import FeatureCache as FeatureCache
from psst.features.cached import FeatureViews as FeatureViews
