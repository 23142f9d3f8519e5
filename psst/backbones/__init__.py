"""Networks that turn images into features, one a file, and the encoder that wraps any of them."""

from psst.backbones.adapted import Adapted as Adapted
from psst.backbones.backbone import Backbone as Backbone
from psst.backbones.conv4 import Conv4 as Conv4
from psst.backbones.encoder import Encoder as Encoder
from psst.backbones.encoder import Setup as Setup
from psst.backbones.resnet12 import ResNet12 as ResNet12
from psst.backbones.timm_backbone import Timm as Timm
from psst.backbones.wide_resnet import WideResNet as WideResNet
