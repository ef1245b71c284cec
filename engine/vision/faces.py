"""Find faces with insightface: detect with SCRFD, align, embed with ArcFace (docs/recognition.md, Detections)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import EnvironmentFault, WeightsMissingError, is_out_of_memory
from engine.vision.onnx_threads import session_options
from engine.vision.regions import overlaps

MODULES = ("detection", "recognition")
"""The models of a pack that are loaded; without this filter insightface runs four networks per face, not one."""
CUDA = "CUDAExecutionProvider"
"""ONNX Runtime's name for running on a CUDA GPU."""
_WINDOW = 5.0
"""Side of the window for the second detection of a small face, in sides of the face.

The landmarks of faces of 20 detector pixels are coarse, and a face that is aligned by them looks like another person.
Of 23 such storybook faces, 2 were recognised after the first detection. After a second detection none were recognised
with windows of 2.5 sides, 14 with windows of 3.5 and 20 with windows of 5
(docs/experiments.md#second-look-at-small-faces).
"""
SECOND_LOOK = 48.0
"""Faces with a longer side below this are detected a second time; in pixels of the detector's input image."""
_MOST_WINDOWS = 24
"""The largest number of windows in a photo."""
_SAME_FACE = 0.3
"""Intersection over union above which two detections are the same face."""


@dataclass(frozen=True)
class Face:
    """A detected face.

    box: in pixels of the upright photo.
    score: the detector's confidence, 0..1.
    embedding: (D,) float32 of unit length.
    sharpness: variance of the Laplacian of the aligned face, in grey levels squared (Pech-Pacheco et al. 2000); 0 for a
        uniform image.
    turn: distance of the nose from the middle between the eyes, along the line of the eyes and in eye distances; 0 is
        frontal, a profile is above 0.5.
    """

    box: Box
    score: float
    embedding: np.ndarray
    sharpness: float = np.inf
    turn: float = 0.0


class _Detector(Protocol):
    """The detection model of a pack."""

    def detect(self, img: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes with scores (F, 5) and landmarks (F, 5, 2) of the faces in an image (H, W, 3) uint8 BGR."""


class _Recognizer(Protocol):
    """The recognition model of a pack; `input_size` is in pixels."""

    input_size: tuple[int, int]
    model_file: str
    session: object

    def get_feat(self, imgs: Sequence[np.ndarray]) -> np.ndarray:
        """Return embeddings (N, D) float32 of aligned faces, not normalised."""


class _Pack(Protocol):
    """The used part of insightface's `FaceAnalysis`, which has no type annotations."""

    det_model: _Detector
    models: Mapping[str, _Recognizer]

    def prepare(self, ctx_id: int, det_thresh: float, det_size: tuple[int, int]) -> None:
        """Set the device (-1 is the CPU), the least score of a detection and the detector's input size in pixels."""


class FaceAnalyser:
    """An insightface model pack: a folder with a detection and a recognition model in ONNX."""

    def __init__(
        self, folder: Path, *, name: str, det_size: int, use_cuda: bool, second_look: float = SECOND_LOOK
    ) -> None:
        """Load a pack.

        det_size: side in pixels of the square to which the detector scales a photo. second_look: longer side, in pixels
        of that square, below which a face is detected a second time.

        Raises:
            WeightsMissingError: the folder holds no ONNX files.
            EnvironmentFault: the pack cannot be loaded.
        """
        if not list(folder.glob("*.onnx")):
            raise WeightsMissingError(
                f"the face models {name!r} are not in {folder}",
                hint=f"Put insightface's {name} pack there; its licence is for non-commercial research only.",
            )
        self.name, self._det_size, self._second_look = name, det_size, second_look
        self._app = _load(folder, use_cuda)
        self._app.prepare(ctx_id=0 if use_cuda else -1, det_thresh=0.5, det_size=(det_size, det_size))

    def find(self, image: Image.Image) -> list[Face]:
        """Return the faces in an upright RGB photo, largest first; all of them are embedded in one batch."""
        from insightface.utils import face_align

        if max(image.size) > self._det_size * min(image.size):
            return []  # the detector's scaled copy would be less than a pixel across
        pixels = np.ascontiguousarray(np.asarray(image)[..., ::-1])  # insightface expects BGR
        boxes, landmarks = self._app.det_model.detect(pixels)
        if not len(boxes):
            return []
        self._redetect_small(pixels, boxes, landmarks)
        size = self._app.models["recognition"].input_size[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # insightface calls a deprecated function of scikit-image
            aligned = [face_align.norm_crop(pixels, landmark=k, image_size=size) for k in landmarks]
        faces = []
        for box_and_score, points, crop, vector in zip(boxes, landmarks, aligned, self.embed(aligned), strict=True):
            box = Box(*map(float, box_and_score[:4])).clipped(*image.size)
            faces.append(Face(box, float(box_and_score[4]), vector, _sharpness(crop), _turn(points)))
        return sorted(faces, key=lambda f: -f.box.area)

    def _redetect_small(self, pixels: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray) -> None:
        """Detect small faces again, in windows around them, largest first.

        pixels: (H, W, 3); boxes: (F, 5) and landmarks: (F, 5, 2) are changed in place.
        """
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)  # (F,)
        pending = set(np.flatnonzero(sides * self._det_size / max(pixels.shape[:2]) < self._second_look).tolist())
        windows = 0
        for i in sorted(pending, key=lambda i: -sides[i]):
            if i not in pending or windows == _MOST_WINDOWS:
                continue  # detected again in another face's window, or no window is left
            windows += 1
            pending.discard(i)
            half, (x, y) = _WINDOW * sides[i] / 2, (boxes[i, :2] + boxes[i, 2:4]) / 2
            x0, y0 = max(0, int(x - half)), max(0, int(y - half))
            window = pixels[y0 : int(y + half) + 1, x0 : int(x + half) + 1]
            detected, points = self._app.det_model.detect(np.ascontiguousarray(window))
            if not len(detected):
                continue
            detected[:, :4] += (x0, y0, x0, y0)
            inside = [k for k in pending if sides[k] * 2 > sides[i] and _within(boxes[k], x0, y0, window.shape)]
            faces = [i, *inside]
            shared = overlaps(np.concatenate([boxes[faces, :4], detected[:, :4]]))[: len(faces), len(faces) :]
            for row, k in enumerate(faces):
                best = int(shared[row].argmax())
                if shared[row, best] > _SAME_FACE:
                    boxes[k], landmarks[k] = detected[best], points[best] + (x0, y0)
                    shared[:, best] = 0.0  # a detection belongs to one face
                    pending.discard(k)

    def embed(self, aligned: list[np.ndarray]) -> np.ndarray:
        """Return embeddings (N, D) float32 of unit length for aligned faces, each (112, 112, 3) uint8 BGR."""
        vectors = self._app.models["recognition"].get_feat(aligned)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _within(box: np.ndarray, x0: int, y0: int, shape: tuple[int, ...]) -> bool:
    """Return whether a face, with half its size on each side around it, is within a window at (x0, y0)."""
    w, h = box[2] - box[0], box[3] - box[1]
    lows, highs = (box[0] - w / 2, box[1] - h / 2), (box[2] + w / 2, box[3] + h / 2)
    return bool(min(lows[0] - x0, lows[1] - y0) >= 0 and highs[0] <= x0 + shape[1] and highs[1] <= y0 + shape[0])


def _sharpness(aligned: np.ndarray) -> float:
    """Return the variance of the Laplacian of an aligned face (H, W, 3) uint8 (Pech-Pacheco et al. 2000)."""
    grey = aligned.mean(axis=2)  # (H, W)
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4.0 * inner).var())


def _turn(landmarks: np.ndarray) -> float:
    """Return the turn (see `Face`) of a face with landmarks (5, 2): left eye, right eye, nose, corners of the mouth."""
    left, right, nose = landmarks[:3]
    axis = right - left
    return float(abs((nose - (left + right) / 2) @ axis) / max(float(axis @ axis), 1e-6))


def _load(folder: Path, use_cuda: bool) -> _Pack:
    """Load the detection and recognition models of a pack.

    Raises:
        EnvironmentFault: the files cannot be loaded.
    """
    import onnxruntime

    providers = [CUDA, "CPUExecutionProvider"] if use_cuda else ["CPUExecutionProvider"]
    if use_cuda and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.app import FaceAnalysis

        try:
            pack: _Pack = FaceAnalysis(name=str(folder), allowed_modules=list(MODULES), providers=providers)
            _limit_threads(pack, providers)
            return pack
        except Exception as err:  # onnxruntime and onnx raise library-specific types for damaged files
            if is_out_of_memory(err):
                raise
            raise EnvironmentFault(f"the face models in {folder} cannot be loaded: {err}") from err


def _limit_threads(pack: _Pack, providers: list[str]) -> None:
    """Give the models of a pack sessions with fewer threads where that is needed; insightface takes no options."""
    options = session_options()
    if options is None:
        return
    import onnxruntime

    for model in pack.models.values():
        model.session = onnxruntime.InferenceSession(model.model_file, options, providers=providers)
