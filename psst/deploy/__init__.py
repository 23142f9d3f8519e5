"""Models for use: encoders that are rebuilt without Lightning."""

from psst.backbones import Encoder as Encoder
from psst.backbones.exported import load_encoder as load_encoder
from psst.deploy.classifier import FewShotClassifier as FewShotClassifier
from psst.deploy.classifier import embed_images as embed_images
from psst.deploy.classifier import image_files as image_files
from psst.deploy.feature_classifier import FeatureClassifier as FeatureClassifier
