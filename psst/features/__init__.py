"""Features of a frozen encoder, computed once: training reads them in place of images."""

from psst.features.cached import CachedBatch as CachedBatch
from psst.features.cached import FeatureCache as FeatureCache
