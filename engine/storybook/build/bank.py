"""Stage 9: features of individuals that no user enrols, shipped so that the first concept has negatives.

`docs/recognition.md`, "Negatives", says what they are used for.
"""

from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image

from engine.core.tensors import save_tensors
from engine.storybook.build.crop_data import draw_families, draw_view
from engine.storybook.build.face_data import DETECTOR_SIZE, draw_face_crop, draw_people
from engine.vision.encoder import EncoderSource, ImageEncoder
from engine.vision.faces import FaceAnalyser


def build_bank(out: Path, seed: int, families: int) -> None:
    """Encode one crop of each member of `families` drawn families (people among them) into `bank.safetensors`."""
    encoder = ImageEncoder(
        EncoderSource("storybook", f"local-dir:{out / 'encoder'}"), torch.device("cpu"), torch.float32
    )
    rng = np.random.default_rng(seed)
    crops = [Image.fromarray(draw_view(rng, who)) for family in draw_families(seed, families) for who in family]
    _save(out / "bank.safetensors", encoder.encode(crops), "storybook")


def build_face_bank(out: Path, seed: int, people: int) -> None:
    """Embed one face of each of `people` drawn people into `face_bank.safetensors`."""
    analyser = FaceAnalyser(out / "faces", name="storybook", det_size=DETECTOR_SIZE, use_cuda=False)
    rng = np.random.default_rng(seed)
    crops = [np.ascontiguousarray(draw_face_crop(rng, who)[..., ::-1]) for who in draw_people(seed, people)]
    _save(out / "face_bank.safetensors", analyser.embed(crops), "faces")


def _save(path: Path, features: np.ndarray, encoder: str) -> None:
    """Save unit features (N, D) as int8, scaled by 127."""
    save_tensors(path, {"features": np.round(127 * features).astype(np.int8)}, {"encoder": encoder})
    path.chmod(0o644)
