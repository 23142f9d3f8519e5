"""Models for use: encoders that are rebuilt without Lightning."""

from psst.deploy.encoder import Encoder as Encoder
from psst.deploy.encoder import load_encoder as load_encoder

__all__ = ["Encoder", "load_encoder"]
