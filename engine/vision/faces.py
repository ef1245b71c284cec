"""Find faces with insightface: detect with SCRFD, align, embed with ArcFace (docs/recognition.md, Detections)."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from engine.core.batches import batched
from engine.core.boxes import Box
from engine.core.errors import EnvironmentFault, WeightsMissingError, is_out_of_memory
from engine.vision.face_pixels import WINDOW, FacePixels, Window
from engine.vision.onnx_threads import CUDA, open_session
from engine.vision.regions import overlaps

MODULES = ("detection", "recognition")
"""The models of a pack that are loaded; without this filter insightface runs four networks per face, not one."""
SECOND_LOOK = 48.0
"""Faces with a longer side below this are detected a second time; in pixels of the detector's input image."""
_MOST_WINDOWS = 24
"""The largest number of windows in a photo."""
_BATCH = 32
"""Faces that are embedded at a time."""
_DOUBTFUL = 4.0
"""Faces of less than this many times the sharpness that a name needs are measured in all pixels of the file.

Sharpness in pictures of half and a quarter of the sides was .3 to .9 of that in all pixels, for faces that are as large
as the recognition model's input (docs/experiments.md#scaled-decoding).
"""
_SAME_FACE = 0.3
"""Intersection over union above which two detections are the same face."""


@dataclass(frozen=True)
class Face:
    """A detected face.

    box: in pixels of the picture; of the upright photo where it comes from the cache.
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


@dataclass(frozen=True)
class _DetectedFace:
    """A face before it is embedded. landmarks: (5, 2) in pixels of the picture; aligned: (S, S, 3) uint8 BGR."""

    box: Box
    score: float
    landmarks: np.ndarray
    aligned: np.ndarray


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
        self,
        folder: Path,
        *,
        name: str,
        det_size: int,
        use_cuda: bool,
        second_look: float = SECOND_LOOK,
        min_sharpness: float = 0.0,
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
        providers = [CUDA, "CPUExecutionProvider"] if use_cuda else ["CPUExecutionProvider"]
        self._app = _load(folder, providers)
        self.replace_sessions(lambda file: open_session(file, providers))
        self._app.prepare(ctx_id=0 if use_cuda else -1, det_thresh=0.5, det_size=(det_size, det_size))
        self._min_sharpness = min_sharpness
        self._least_side = max(self._app.models["recognition"].input_size[0], det_size / WINDOW)

    @property
    def detector(self) -> _Detector:
        """The detection model."""
        return self._app.det_model

    def replace_sessions(self, open_file: Callable[[str], object]) -> None:
        """Replace the models' sessions by those that a function opens; insightface takes no options for its own."""
        for model in self._app.models.values():
            model.session = open_file(model.model_file)

    def find(self, image: Image.Image) -> list[Face]:
        """Return the faces in an upright RGB photo, largest first."""
        return self.find_all([FacePixels(image, None)])[0]

    def find_all(self, photos: Iterable[FacePixels]) -> list[list[Face]]:
        """Return the faces in each photo, largest first, with boxes in pixels of its picture.

        The faces of all photos are embedded together. The detection models take one photo at a time.
        """
        detected = [self._detect(photo) for photo in photos]
        aligned = [face.aligned for in_photo in detected for face in in_photo]
        vectors = iter(self.embed(aligned) if aligned else ())
        faces = [
            [Face(f.box, f.score, next(vectors), _sharpness(f.aligned), _turn(f.landmarks)) for f in in_photo]
            for in_photo in detected
        ]
        return [sorted(in_photo, key=lambda f: -f.box.area) for in_photo in faces]

    def _detect(self, photo: FacePixels) -> list[_DetectedFace]:
        """Detect and align the faces of a photo.

        A face that is small in a reduced picture is aligned from all pixels of its file, as is one that may seem
        blurred for want of them.
        """
        size = photo.image.size
        if max(size) > self._det_size * min(size):
            return []  # the detector's scaled copy would be less than a pixel across
        boxes, landmarks = self.detector.detect(photo.whole)
        if not len(boxes):
            return []
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)  # (F,)
        reduced = photo.is_reduced
        small = {i for i, side in enumerate(sides) if reduced and side < self._least_side}
        self._redetect_small(photo, boxes, landmarks, small)
        faces = []
        for i, (box, points) in enumerate(zip(boxes, landmarks, strict=True)):
            aligned = self._align(photo, box, points, at_full_size=i in small)
            if reduced and i not in small and _sharpness(aligned) < _DOUBTFUL * self._min_sharpness:
                aligned = self._align(photo, box, points, at_full_size=True)
            faces.append(_DetectedFace(Box(*map(float, box[:4])).clipped(*size), float(box[4]), points, aligned))
        return faces

    def _align(self, photo: FacePixels, box: np.ndarray, landmarks: np.ndarray, *, at_full_size: bool) -> np.ndarray:
        """Return the aligned face (S, S, 3) uint8 BGR, of the size that the recognition model takes."""
        from insightface.utils import face_align

        pixels = photo.whole
        if at_full_size:
            window = photo.window(box, at_full_size=True)
            pixels, landmarks = window.pixels, window.to_window(landmarks)
        size = self._app.models["recognition"].input_size[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # insightface calls a deprecated function of scikit-image
            aligned: np.ndarray = face_align.norm_crop(pixels, landmark=landmarks, image_size=size)
        return aligned

    def _redetect_small(self, photo: FacePixels, boxes: np.ndarray, landmarks: np.ndarray, small: set[int]) -> None:
        """Detect small faces again, in windows around them, largest first.

        boxes: (F, 5) and landmarks: (F, 5, 2) are changed in place. small: the faces whose windows are taken from all
        pixels of the file.
        """
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)  # (F,)
        pending = set(np.flatnonzero(sides * self._det_size / max(photo.image.size) < self._second_look).tolist())
        windows = 0
        for i in sorted(pending, key=lambda i: -sides[i]):
            if i not in pending or windows == _MOST_WINDOWS:
                continue  # detected again in another face's window, or no window is left
            windows += 1
            pending.discard(i)
            window = photo.window(boxes[i, :4], at_full_size=i in small)
            detected, points = self.detector.detect(np.ascontiguousarray(window.pixels))
            if not len(detected):
                continue
            detected[:, :4] = window.to_picture(detected[:, :4].reshape(-1, 2, 2)).reshape(-1, 4)
            inside = [k for k in pending if sides[k] * 2 > sides[i] and _within(boxes[k], window)]
            faces = [i, *inside]
            shared = overlaps(np.concatenate([boxes[faces, :4], detected[:, :4]]))[: len(faces), len(faces) :]
            for row, k in enumerate(faces):
                best = int(shared[row].argmax())
                if shared[row, best] > _SAME_FACE:
                    boxes[k], landmarks[k] = detected[best], window.to_picture(points[best])
                    shared[:, best] = 0.0  # a detection belongs to one face
                    pending.discard(k)

    def embed(self, aligned: list[np.ndarray]) -> np.ndarray:
        """Return embeddings (N, D) float32 of unit length for aligned faces, each (112, 112, 3) uint8 BGR."""
        model = self._app.models["recognition"]
        vectors = np.concatenate([model.get_feat(batch) for batch in batched(aligned, _BATCH)])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _within(box: np.ndarray, window: Window) -> bool:
    """Return whether a face, with half its size on each side around it, is within a window."""
    w, h = box[2] - box[0], box[3] - box[1]
    lows, highs = (box[0] - w / 2, box[1] - h / 2), (box[2] + w / 2, box[3] + h / 2)
    width, height = window.size
    inside = highs[0] <= window.x0 + width and highs[1] <= window.y0 + height
    return bool(min(lows[0] - window.x0, lows[1] - window.y0) >= 0 and inside)


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


def _load(folder: Path, providers: list[str]) -> _Pack:
    """Load the detection and recognition models of a pack.

    Raises:
        EnvironmentFault: the files cannot be loaded.
    """
    import onnxruntime

    if CUDA in providers and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.app import FaceAnalysis

        try:
            pack: _Pack = FaceAnalysis(name=str(folder), allowed_modules=list(MODULES), providers=providers)
            return pack
        except Exception as err:  # onnxruntime and onnx raise library-specific types for damaged files
            if is_out_of_memory(err):
                raise
            raise EnvironmentFault(f"the face models in {folder} cannot be loaded: {err}") from err
