"""Stage 6: features of strangers, shipped so that the first concept has negatives."""

from pathlib import Path

import engine.device  # noqa: F401

import numpy as np
import torch
from PIL import Image

from engine.heads.encoder import EncoderSource, ImageEncoder
from engine.store.tensors import save_tensors
from engine.storybook.build.crop_data import draw_families, draw_view


def build_bank(out: Path, seed: int, families: int) -> None:
    """Encode one view of every member of some families, and of people, into `bank.safetensors`."""
    encoder = ImageEncoder(
        EncoderSource("storybook", f"local-dir:{out / 'encoder'}"), torch.device("cpu"), torch.float32
    )
    rng = np.random.default_rng(seed)
    views = [Image.fromarray(draw_view(rng, who)) for family in draw_families(seed, families) for who in family]
    arrays = {"features": np.round(127 * encoder.encode(views)).astype(np.int8)}
    save_tensors(out / "bank.safetensors", arrays, {"encoder": "storybook"})
    (out / "bank.safetensors").chmod(0o644)
