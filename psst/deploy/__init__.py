"""Models for use: encoders that are rebuilt without Lightning."""

from psst.backbones import Encoder as Encoder
from psst.backbones.exported import load_encoder as load_encoder
