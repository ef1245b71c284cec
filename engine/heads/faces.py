"""Faces, by insightface: detect with SCRFD, align, embed with ArcFace."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from engine.boxes import Box
from engine.errors import EnvironmentFault, WeightsMissingError

MODULES = ("detection", "recognition")
"""Without this filter insightface runs four nets a face instead of one."""
CUDA = "CUDAExecutionProvider"


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
        size = self._app.models["recognition"].input_size[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # insightface calls an old name in scikit-image
            aligned = [face_align.norm_crop(pixels, landmark=k, image_size=size) for k in landmarks]
        faces = []
        for found, points, crop, vector in zip(boxes, landmarks, aligned, self.embed(aligned), strict=True):
            box = Box(*map(float, found[:4])).clipped(*image.size)
            faces.append(Face(box, float(found[4]), vector, _sharpness(crop), _turn(points)))
        return sorted(faces, key=lambda f: -f.box.area)

    def embed(self, aligned: list[np.ndarray]) -> np.ndarray:
        """Unit embeddings (N, D) float32 of aligned faces, (112, 112, 3) uint8 BGR each."""
        vectors = self._app.models["recognition"].get_feat(aligned)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


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
    providers = [CUDA, "CPUExecutionProvider"] if use_cuda else ["CPUExecutionProvider"]
    if use_cuda and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.app import FaceAnalysis

        try:
            return FaceAnalysis(name=str(folder), allowed_modules=list(MODULES), providers=providers)
        except Exception as err:  # onnxruntime and onnx raise types of their own for damaged files
            raise EnvironmentFault(f"the face models in {folder} cannot be loaded: {err}") from err
