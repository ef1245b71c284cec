"""Encode regions of pictures that show nobody's concepts: the negatives of the paper's linear heads.

    python -m engine.vision.build bank --encoder FILE --photos FOLDER --out FILE

The shipped bank was made of the pictures named in the model card. It holds features only, in 8 bits.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from engine.core.tensors import save_tensors
from engine.vision.class_guess import imagenet_words
from engine.vision.config import find_recogniser
from engine.vision.onnx_encoder import OnnxEncoder
from engine.vision.regions import crop, grid_regions

_REGIONS = 7
"""Regions taken from each picture, at random: half of them."""
_SMALLEST_SIDE = 150
"""Pictures with a shorter side, in pixels, are left out."""
_SUFFIXES = {".jpg", ".jpeg", ".png"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this part of the build is told on the command line."""
    parser.add_argument("--encoder", type=Path, required=True, help="encoder.onnx")
    parser.add_argument("--photos", type=Path, required=True, help="folder of pictures, searched with its subfolders")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--seed", type=int, default=0)


def build(args: argparse.Namespace) -> None:
    """Write the bank that the arguments describe."""
    rng = np.random.default_rng(args.seed)
    size = find_recogniser("builtin").image_size
    encoder = OnnxEncoder(args.encoder, image_size=size, words=imagenet_words(1.0), use_cuda=False)
    rows = []
    for path in sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in _SUFFIXES):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        if min(image.size) >= _SMALLEST_SIDE:
            regions = grid_regions(*image.size)
            chosen = sorted(rng.permutation(len(regions))[:_REGIONS].tolist())
            rows.append(encoder.encode([crop(image, regions[i].box) for i in chosen]))
    features = np.concatenate(rows)  # (N, D), not negative, of unit length
    levels = np.round(127 * features / features.max(axis=1, keepdims=True)).astype(np.int8)
    save_tensors(args.out, {"features": levels}, {"encoder": "builtin"})
    args.out.chmod(0o644)
