"""Sample embeddings of invented faces, the cohort that enrolled people are told apart from.

    python -m engine.vision.build cohort --out FILE
    python -m engine.vision.build cohort --photos FOLDER --pack FOLDER --out FILE

The first samples from `face_population.safetensors`, a probabilistic PCA (Tipping & Bishop 1999) of face embeddings:
their mean, eight directions in which people differ most, and one variance for all others. The second estimates that
file and `mean_face.json` anew, from photos of different people, one person a photo, then samples; the pack has to be
written again afterwards.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from engine.core.tensors import load_tensors, save_tensors
from engine.vision.build.faces import load_mean_face, save_mean_face

_POPULATION = Path(__file__).with_name("face_population.safetensors")
_DIRECTIONS = 8
_FACES = 150
"""Sampled faces. With more, concepts with one reference are named less often; with fewer, strangers more often
(docs/experiments.md#a-cohort-without-photos)."""
_SEED = 13
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".ppm"}


@dataclass(frozen=True)
class Population:
    """How the embeddings of different people vary.

    mean: (128,); factor: (128, K), directions scaled by their standard deviations; noise: the variance of all others.
    """

    mean: np.ndarray
    factor: np.ndarray
    noise: float

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Return embeddings (count, 128) float32 of unit length."""
        rng = np.random.default_rng(seed)
        width, directions = self.factor.shape
        spread = rng.standard_normal((count, directions)) @ self.factor.T
        faces = self.mean + spread + np.sqrt(self.noise) * rng.standard_normal((count, width))
        unit: np.ndarray = (faces / np.linalg.norm(faces, axis=1, keepdims=True)).astype(np.float32)
        return unit


def estimate(embeddings: np.ndarray, directions: int = _DIRECTIONS) -> Population:
    """Estimate the population from embeddings (N, D) of different people."""
    mean = embeddings.mean(axis=0)
    centred = embeddings - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))  # ascending
    noise = float(variances[:-directions].mean())
    return Population(mean, axes[:, -directions:] * np.sqrt(np.maximum(variances[-directions:] - noise, 0.0)), noise)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this part of the build is told on the command line."""
    parser.add_argument("--out", type=Path, required=True, help="the bank, face_bank.safetensors")
    parser.add_argument("--photos", type=Path, help="photos to estimate the population from, one person each")
    parser.add_argument("--pack", type=Path, help="the face pack, for --photos")


def build(args: argparse.Namespace) -> None:
    """Estimate the population where photos are given; write the bank."""
    if args.photos is not None:
        descriptors = describe(args.photos, args.pack)
        save_mean_face(descriptors.mean(axis=0), len(descriptors))
        centred = descriptors + load_mean_face()
        save_population(estimate(centred / np.linalg.norm(centred, axis=1, keepdims=True)))
    write_bank(load_population(), args.out)


def write_bank(population: Population, out: Path, *, count: int = _FACES, seed: int = _SEED) -> None:
    """Write sampled faces as a bank of features, (count, 128) int8."""
    features = np.round(127 * population.sample(count, seed)).astype(np.int8)
    save_tensors(out, {"features": features}, {"encoder": "faces"})
    out.chmod(0o644)


def describe(photos: Path, pack: Path) -> np.ndarray:
    """Return dlib's descriptor (N, 128) of the largest face of each photo in a folder."""
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(name=str(pack), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=-1, det_size=(640, 640))
    found = []
    for path in sorted(p for p in photos.iterdir() if p.suffix.lower() in _SUFFIXES):
        pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))[..., ::-1]
        faces = app.get(np.ascontiguousarray(pixels))
        found += [max(faces, key=lambda f: float(f.bbox[2] - f.bbox[0])).embedding] if faces else []
    descriptors: np.ndarray = np.stack(found) - load_mean_face()
    return descriptors


def save_population(population: Population) -> None:
    """Write the population beside this module."""
    tensors = {"mean": population.mean, "factor": population.factor, "noise": np.array([population.noise])}
    save_tensors(_POPULATION, {k: v.astype(np.float32) for k, v in tensors.items()}, {"what": "face population"})
    _POPULATION.chmod(0o644)


def load_population() -> Population:
    """Read the population beside this module."""
    tensors = load_tensors(_POPULATION)
    return Population(tensors["mean"], tensors["factor"], float(tensors["noise"][0]))
