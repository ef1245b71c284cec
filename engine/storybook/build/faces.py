"""Stage 8: the face pack, a small SCRFD (Guo et al. 2021) and a small ArcFace backbone (Deng et al. 2019).

Both are exported to ONNX, in the layout of an insightface model pack.
"""

import warnings
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.storybook.build.face_data import CROP, DETECTOR_SIZE
from engine.storybook.build.loop import DEVICE, Schedule, train

STRIDES = (8, 16, 32)
ANCHORS = 2  # anchors at each position, as in SCRFD
EMBEDDING = 512  # width of insightface's w600k_r50
_LEVEL_SIZES = (0.0, 44.0, 84.0, 1e9)
"""Limits of face sizes (longest side, pixels of 320) of the strides: 8 up to 44 px, 16 up to 84 px, 32 above."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class FaceDetector(nn.Module):
    """A small backbone with SCRFD's output layout: scores, distances and landmarks at strides 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), _conv(16, 32, 2)
        )
        self.levels = nn.ModuleList(
            [
                nn.Sequential(_conv(32, 64, 2), _conv(64, 64)),
                nn.Sequential(_conv(64, 96, 2), _conv(96, 96)),
                nn.Sequential(_conv(96, 96, 2), _conv(96, 96)),
            ]
        )
        self.necks = nn.ModuleList([nn.Conv2d(c, 48, 1) for c in (64, 96, 96)])
        self.towers = nn.ModuleList([nn.Sequential(_conv(48, 48), _conv(48, 48)) for _ in STRIDES])
        self.score = nn.ModuleList([nn.Conv2d(48, ANCHORS, 1) for _ in STRIDES])
        self.box = nn.ModuleList([nn.Conv2d(48, 4 * ANCHORS, 1) for _ in STRIDES])
        self.marks = nn.ModuleList([nn.Conv2d(48, 10 * ANCHORS, 1) for _ in STRIDES])
        for head in self.score:
            nn.init.constant_(head.get_parameter("bias"), -4.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the 9 output tensors of pixels (1, 3, H, W) as insightface normalises them.

        They are scores (n, 1), distances (n, 4) and landmark offsets (n, 10), the last two in units of the stride, each
        for strides 8, 16, 32.
        """
        flat = [[_rows(o, k) for o, k in zip(level, (1, 4, 10), strict=True)] for level in self.raw(pixels)]
        return tuple(flat[i][kind].sigmoid() if kind == 0 else flat[i][kind] for kind in range(3) for i in range(3))

    def raw(self, pixels: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Compute maps (B, C, H, W) of score logits, distances (positive) and landmark offsets, for each level."""
        x = self.stem(pixels)
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        tops = [neck(m) for neck, m in zip(self.necks, maps, strict=True)]
        for i in (1, 0):
            tops[i] = tops[i] + F.interpolate(tops[i + 1], scale_factor=2.0, mode="nearest")
        heads = zip(self.towers, tops, self.score, self.box, self.marks, strict=True)
        return [(s(y), F.softplus(b(y)), m(y)) for y, s, b, m in ((t(top), s, b, m) for t, top, s, b, m in heads)]


def _rows(maps: Tensor, each: int) -> Tensor:
    """Reshape (1, A·each, H, W) to (H·W·A, each), SCRFD's order."""
    return maps.permute(0, 2, 3, 1).reshape(-1, each)


def detector_targets(faces: Tensor, size: int, stride: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Compute the targets of one level: positive (B, H, W) bool, and values (B, 14, H, W) in units of the stride.

    faces (B, 3, 14) in pixels, NaN in rows without a face. Positive are the positions in the middle half of each face
    whose longest side is from `low` to below `high` pixels.
    """
    n = size // stride
    ys, xs = torch.meshgrid(torch.arange(n) * float(stride), torch.arange(n) * float(stride), indexing="ij")
    positive = torch.zeros(len(faces), n, n, dtype=torch.bool)
    values = torch.zeros(len(faces), 14, n, n)
    for k in range(faces.shape[1]):
        x0, y0, x1, y1 = (faces[:, k, i].view(-1, 1, 1) for i in range(4))
        side = torch.maximum(x1 - x0, y1 - y0)
        reach = (0.25 * side).clamp(min=0.75 * stride)
        inside = ((xs - (x0 + x1) / 2).abs() <= reach) & ((ys - (y0 + y1) / 2).abs() <= reach)
        inside &= (side >= low) & (side < high)
        marks = [(faces[:, k, 4 + i].view(-1, 1, 1) - (xs if i % 2 == 0 else ys)) / stride for i in range(10)]
        offsets = torch.stack(
            [(xs - x0) / stride, (ys - y0) / stride, (x1 - xs) / stride, (y1 - ys) / stride, *marks], 1
        )
        positive |= inside
        values = torch.where(inside[:, None], offsets, values)
    return positive, values


def detector_losses(outputs: list[tuple[Tensor, Tensor, Tensor]], faces: Tensor, size: int) -> dict[str, Tensor]:
    """Compute the focal loss of scores, the GIoU loss of boxes and the L1 loss of landmarks, over all levels."""
    scores, boxes, marks = [], [], []
    positives = 0
    for level, (s, b, m) in enumerate(outputs):
        targets = detector_targets(faces, size, STRIDES[level], *_LEVEL_SIZES[level : level + 2])
        positive, values = (t.to(s.device) for t in targets)
        mask = positive[:, None].expand_as(s)
        p = s.float().sigmoid()
        focal = F.binary_cross_entropy_with_logits(s.float(), mask.float(), reduction="none")
        scores.append((focal * torch.where(mask, 0.75 * (1 - p) ** 2, 0.25 * p**2)).sum())
        positives += int(positive.sum())
        for a in range(ANCHORS):
            at = positive.nonzero(as_tuple=True)
            truth = values.permute(0, 2, 3, 1)[at]
            boxes.append(_giou_loss(b[:, 4 * a : 4 * a + 4].float().permute(0, 2, 3, 1)[at], truth[:, :4]).sum())
            marks.append(
                (m[:, 10 * a : 10 * a + 10].float().permute(0, 2, 3, 1)[at] - truth[:, 4:]).abs().mean(-1).sum()
            )
    scale = 1.0 / max(1, positives)
    return {
        "score": scale * torch.stack(scores).sum(),
        "box": scale * torch.stack(boxes).sum(),
        "marks": scale * torch.stack(marks).sum(),
    }


def _giou_loss(a: Tensor, b: Tensor) -> Tensor:
    """Compute 1 - GIoU (Rezatofighi et al. 2019) of boxes (N, 4): distances left, top, right, bottom from one point."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    shared = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])
    hull = (high[:, 0] + high[:, 2]) * (high[:, 1] + high[:, 3])
    union = sum((v[:, 0] + v[:, 2]) * (v[:, 1] + v[:, 3]) for v in (a, b)) - shared
    return 1 - shared / union.clamp(min=1e-6) + (hull - union) / hull.clamp(min=1e-6)


def train_detector(
    folder: Path, images: np.ndarray, faces: np.ndarray, schedule: Schedule, batch: int = 12
) -> FaceDetector:
    """Train the detector, or continue from its checkpoint."""
    torch.manual_seed(0)
    net = FaceDetector().to(DEVICE).train()
    truth = torch.from_numpy(faces)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((8, step))
        rows = np.sort(rng.choice(len(images), batch, replace=False))
        pixels = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float()
        light = torch.from_numpy(rng.uniform(0.6, 1.3, batch).astype(np.float32)).view(-1, 1, 1, 1)
        pixels = ((pixels * light).clamp(0, 255) - 127.5) / 128
        return detector_losses(net.raw(pixels.to(DEVICE)), truth[rows], DETECTOR_SIZE)

    train("face_detector", folder, {"net": net}, schedule, step_losses)
    return net.cpu().eval()


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 3, 1, 1, groups=width // 8, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class FaceRecogniser(nn.Module):
    """A small ArcFace backbone: pixels (B, 3, 112, 112) to embeddings (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 80, 112)
        stages: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            stages += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.PReLU(b), _Block(b), _Block(b)]
        self.body = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.Conv2d(112, 112, 7, groups=112, bias=False), nn.BatchNorm2d(112), nn.Flatten())
        self.out = nn.Sequential(nn.Linear(112, EMBEDDING, bias=False), nn.BatchNorm1d(EMBEDDING))

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed normalised pixels ((x - 127.5) / 127.5, RGB); embeddings are not of unit length."""
        return self.out(self.pool(self.body(pixels)))


class _CosFace(nn.Module):
    """Large-margin cosine loss (CosFace, Wang et al. 2018, eq. 4): the logit of the true person is s (cos θ - m)."""

    def __init__(self, people: int, scale: float = 32.0, margin: float = 0.3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, EMBEDDING) * 0.01)
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: Tensor, people: Tensor, margin: float) -> Tensor:
        cosine = F.normalize(embeddings.float()) @ F.normalize(self.weight).T
        cosine = cosine - margin * F.one_hot(people, len(self.weight))
        return F.cross_entropy(self.scale * cosine, people)


def train_recogniser(
    folder: Path, crops: np.ndarray, people: np.ndarray, schedule: Schedule, batch: int = 128
) -> FaceRecogniser:
    """Train the recogniser, or continue from its checkpoint; the margin grows over the first third of the steps."""
    torch.manual_seed(0)
    net, head = FaceRecogniser().to(DEVICE).train(), _CosFace(int(people.max()) + 1).to(DEVICE)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((9, step))
        rows = np.sort(rng.choice(len(crops), batch, replace=False))
        pixels = torch.from_numpy(crops[rows]).permute(0, 3, 1, 2).float()
        light = torch.from_numpy(rng.uniform(0.7, 1.3, batch).astype(np.float32)).view(-1, 1, 1, 1)
        pixels = ((pixels * light).clamp(0, 255) - 127.5) / 127.5
        flips = torch.from_numpy(rng.random(batch) < 0.5)
        pixels = torch.where(flips.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
        margin = head.margin * min(1.0, 3 * step / schedule.steps)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            embeddings = net(pixels.to(DEVICE))
        return {"cosface": head(embeddings, torch.from_numpy(people[rows]).to(DEVICE), margin)}

    train("face_recogniser", folder, {"net": net, "head": head}, schedule, step_losses)
    return net.cpu().eval()


def export_pack(detector: FaceDetector, recogniser: FaceRecogniser, folder: Path) -> None:
    """Write the two models into a folder that insightface's FaceAnalysis loads."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            detector,
            (torch.zeros(1, 3, DETECTOR_SIZE, DETECTOR_SIZE),),
            str(folder / "det_storybook.onnx"),
            input_names=["input.1"],
            output_names=names,
            dynamic_axes={"input.1": {2: "height", 3: "width"}, **{n: {0: "places"} for n in names}},
            dynamo=False,
        )
        torch.onnx.export(
            recogniser,
            (torch.zeros(1, 3, CROP, CROP),),
            str(folder / "rec_storybook.onnx"),
            input_names=["input.1"],
            output_names=["embedding"],
            dynamic_axes={"input.1": {0: "faces"}, "embedding": {0: "faces"}},
            dynamo=False,
        )
    for name in ("det_storybook.onnx", "rec_storybook.onnx"):
        _halve(folder / name)


def _halve(path: Path) -> None:
    """Store weights in half precision, cast to float32 when the model is loaded: half the file, the same layout."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 64:
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
