"""The image store: sources, decoding, and what is done to images in batches."""

from psst.images.build import build_store, store_folder, trust
from psst.images.source import SPLITS, ImageRecord, Source
from psst.images.store import FORMAT_VERSION, ImageStore

__all__ = [
    "FORMAT_VERSION",
    "SPLITS",
    "ImageRecord",
    "ImageStore",
    "Source",
    "build_store",
    "store_folder",
    "trust",
]
