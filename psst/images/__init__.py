"""The image store: sources, decoding, and what is done to images in batches."""

from psst.images.build import build_store as build_store
from psst.images.build import trust as trust
from psst.images.source import SPLITS as SPLITS
from psst.images.source import ImageRecord as ImageRecord
from psst.images.source import Source as Source
from psst.images.store import ImageStore as ImageStore
