"""Decide whether a face is seen well enough to be named (docs/recognition.md, Detections)."""

from dataclasses import dataclass
from enum import StrEnum

from engine.vision.config import FaceQuality
from engine.vision.faces import Face


class FaceFlaw(StrEnum):
    """What can keep a face from being named."""

    SMALL = "small"
    BLURRED = "blurred"
    TURNED = "turned"


@dataclass(frozen=True)
class FaceFlaws:
    """The flaws of one face. side: its shorter side, min_side: the least one needed, both in pixels of the photo."""

    flaws: tuple[FaceFlaw, ...] = ()
    side: float = 0.0
    min_side: float = 0.0


def passes(face: Face, quality: FaceQuality, scale: float = 1.0) -> bool:
    """Return whether a face may be named. scale: pixels of the photo for one of the picture that its box is in."""
    return not find_flaws(face, quality, scale).flaws


def find_flaws(face: Face, quality: FaceQuality, scale: float = 1.0) -> FaceFlaws:
    """Find what keeps a face from being named. scale: pixels of the photo for one of the picture its box is in."""
    side = scale * min(face.box.x1 - face.box.x0, face.box.y1 - face.box.y0)
    sound = {
        FaceFlaw.SMALL: side >= quality.min_side,
        FaceFlaw.BLURRED: face.sharpness >= quality.min_sharpness,
        FaceFlaw.TURNED: face.turn <= quality.max_turn,
    }
    return FaceFlaws(tuple(flaw for flaw, is_sound in sound.items() if not is_sound), side, quality.min_side)
