"""Faces, by insightface: detect with SCRFD, align, embed with ArcFace."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import EnvironmentFault, WeightsMissingError, is_out_of_memory
from engine.recognition.assignment import overlaps

MODULES = ("detection", "recognition")
"""Without this filter insightface runs four nets a face instead of one."""
CUDA = "CUDAExecutionProvider"
_WINDOW = 5.0
"""Side of the window for a second look at a small face, in sides of the face. Landmarks of faces of 20 detector pixels
are coarse, and what is aligned by them is somebody else: of 23 such storybook faces 2 were recognised at the first
look, none at 2.5, 14 at 3.5, 20 at 5.
"""
_SMALL = 48.0
"""Sides in pixels of what the detector sees, under which a face is looked at again."""
_MOST_LOOKS = 24
_SAME_FACE = 0.3


@dataclass(frozen=True)
class Face:
    """A detected face. embedding: (D,) float32 of unit length; score: detector confidence 0..1; sharpness: variance of
    the Laplacian of the aligned face in grey levels (Pech-Pacheco et al. 2000), 0 is a blur; turn: how far the nose is
    from between the eyes, in eye distances, 0 is frontal and a profile over 0.5.
    """

    box: Box
    score: float
    embedding: np.ndarray
    sharpness: float = np.inf
    turn: float = 0.0


class FaceAnalyser:
    """An insightface model pack: a folder with a detector and a recogniser in ONNX."""

    def __init__(self, folder: Path, *, name: str, det_size: int, use_cuda: bool) -> None:
        """Load a pack.

        Raises:
            WeightsMissingError: the folder holds no ONNX files.
            EnvironmentFault: the pack cannot be loaded.
        """
        if not list(folder.glob("*.onnx")):
            raise WeightsMissingError(
                f"the face models {name!r} are not in {folder}",
                hint=f"Put insightface's {name} pack there; its licence is for non-commercial research only.",
            )
        self.name, self._det_size = name, det_size
        self._app = _load(folder, use_cuda)
        self._app.prepare(ctx_id=0 if use_cuda else -1, det_thresh=0.5, det_size=(det_size, det_size))

    def find(self, image: Image.Image) -> list[Face]:
        """Faces of an upright RGB photo, largest first; embeddings computed once, in one batch."""
        from insightface.utils import face_align

        if max(image.size) > self._det_size * min(image.size):
            return []  # the detector's scaled copy would be less than a pixel across
        pixels = np.ascontiguousarray(np.asarray(image)[..., ::-1])  # insightface wants BGR
        boxes, landmarks = self._app.det_model.detect(pixels)
        if not len(boxes):
            return []
        self._look_again(pixels, boxes, landmarks)
        size = self._app.models["recognition"].input_size[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # insightface calls an old name in scikit-image
            aligned = [face_align.norm_crop(pixels, landmark=k, image_size=size) for k in landmarks]
        faces = []
        for found, points, crop, vector in zip(boxes, landmarks, aligned, self.embed(aligned), strict=True):
            box = Box(*map(float, found[:4])).clipped(*image.size)
            faces.append(Face(box, float(found[4]), vector, _sharpness(crop), _turn(points)))
        return sorted(faces, key=lambda f: -f.box.area)

    def _look_again(self, pixels: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray) -> None:
        """Find small faces again, in windows around them; boxes (F, 5) and landmarks (F, 5, 2) change in place."""
        height, width = pixels.shape[:2]
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)
        left = set(np.flatnonzero(sides * self._det_size / max(height, width) < _SMALL).tolist())
        looks = 0
        for i in sorted(left, key=lambda i: -sides[i]):
            if i not in left or looks == _MOST_LOOKS:
                continue  # another face's window showed it
            looks += 1
            half, (x, y) = _WINDOW * sides[i] / 2, (boxes[i, :2] + boxes[i, 2:4]) / 2
            x0, y0 = max(0, int(x - half)), max(0, int(y - half))
            window = pixels[y0 : int(y + half) + 1, x0 : int(x + half) + 1]
            found, points = self._app.det_model.detect(np.ascontiguousarray(window))
            left.discard(i)
            if not len(found):
                continue
            found[:, :4] += (x0, y0, x0, y0)
            inside = [k for k in left if sides[k] * 2 > sides[i] and _within(boxes[k], x0, y0, window.shape)]
            own = boxes[[i, *inside], :4]
            shared = overlaps(np.concatenate([own, found[:, :4]]))[: len(own), len(own) :]
            for row, k in enumerate((i, *inside)):
                best = int(shared[row].argmax())
                if shared[row, best] > _SAME_FACE:
                    boxes[k], landmarks[k] = found[best], points[best] + (x0, y0)
                    shared[:, best] = 0.0  # is nobody else's
                    left.discard(k)

    def embed(self, aligned: list[np.ndarray]) -> np.ndarray:
        """Unit embeddings (N, D) float32 of aligned faces, (112, 112, 3) uint8 BGR each."""
        vectors = self._app.models["recognition"].get_feat(aligned)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _within(box: np.ndarray, x0: int, y0: int, shape: tuple[int, ...]) -> bool:
    """Whether a face with as much again around it is in a window."""
    w, h = box[2] - box[0], box[3] - box[1]
    lows, highs = (box[0] - w / 2, box[1] - h / 2), (box[2] + w / 2, box[3] + h / 2)
    return bool(min(lows[0] - x0, lows[1] - y0) >= 0 and highs[0] <= x0 + shape[1] and highs[1] <= y0 + shape[0])


def _sharpness(aligned: np.ndarray) -> float:
    """Of an aligned face (H, W, 3) uint8."""
    grey = aligned.mean(axis=2)
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4.0 * inner).var())


def _turn(landmarks: np.ndarray) -> float:
    """Of the landmarks (5, 2): left eye, right eye, nose, corners of the mouth."""
    left, right, nose = landmarks[:3]
    axis = right - left
    return float(abs((nose - (left + right) / 2) @ axis) / max(float(axis @ axis), 1e-6))


def _load(folder: Path, use_cuda: bool) -> Any:
    import onnxruntime

    providers = [CUDA, "CPUExecutionProvider"] if use_cuda else ["CPUExecutionProvider"]
    if use_cuda and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.app import FaceAnalysis

        try:
            return FaceAnalysis(name=str(folder), allowed_modules=list(MODULES), providers=providers)
        except Exception as err:  # onnxruntime and onnx raise types of their own for damaged files
            if is_out_of_memory(err):
                raise
            raise EnvironmentFault(f"the face models in {folder} cannot be loaded: {err}") from err
