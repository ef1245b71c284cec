"""The built-in face pack finds what CenterFace finds and describes faces as dlib does."""

import json

import numpy as np
import pytest
from PIL import Image

from engine.vision.build.face_cohort import load_population, write_bank
from engine.vision.build.faces import DETECTOR, RECOGNISER, load_mean_face
from engine.vision.faces import FaceAnalyser
from tests.repository.structure import ROOT
from tests.vision.face_references import DATA, PUBLIC_DOMAIN, SIDE, align, picture

BUILTIN = ROOT / "engine" / "vision" / "weights" / "builtin"
PACK = BUILTIN / "faces"
REFERENCES = json.loads(DATA.read_text("utf-8"))


def sample(name: str) -> np.ndarray:
    found = picture(name)
    if found is None:
        pytest.skip(f"the package that ships the sample picture {name!r} is not installed")
    return found


@pytest.fixture(scope="module")
def analyser() -> FaceAnalyser:
    return FaceAnalyser(PACK, name="builtin-faces", det_size=SIDE, use_cuda=False)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_pack_is_small():
    assert {p.name for p in PACK.iterdir()} == {DETECTOR, RECOGNISER}
    assert sum(p.stat().st_size for p in BUILTIN.rglob("*face*/*.onnx")) < 10.6e6


@pytest.mark.parametrize("name", ["astronaut", "hopper", "group"])
def test_faces_are_where_centerface_finds_them(analyser, name):
    rgb = sample(name)
    boxes, landmarks = analyser._app.det_model.detect(np.ascontiguousarray(rgb[..., ::-1]))
    assert len(boxes) == len(REFERENCES[name])
    for expected in REFERENCES[name]:
        nearest = int(np.abs(boxes[:, :4] - expected["box"][:4]).max(axis=1).argmin())
        assert np.abs(boxes[nearest, :4] - expected["box"][:4]).max() < 1
        assert np.abs(landmarks[nearest] - expected["landmarks"]).max() < 1
        assert abs(boxes[nearest, 4] - expected["box"][4]) < 0.01


@pytest.mark.parametrize("name", PUBLIC_DOMAIN)
def test_faces_are_described_as_dlib_does(analyser, name):
    (expected,) = REFERENCES[name]
    crop = align(sample(name), expected["landmarks"])
    found = analyser._app.models["recognition"].get_feat([np.ascontiguousarray(crop[..., ::-1])])[0] - load_mean_face()
    assert cosine(found, np.array(expected["descriptor"])) > 0.9995
    assert cosine(found + load_mean_face(), np.array(expected["descriptor"]) + load_mean_face()) > 0.998


def test_a_face_is_itself_and_nobody_else(analyser):
    faces = {name: analyser.find(Image.fromarray(sample(name)))[0] for name in PUBLIC_DOMAIN}
    smaller = Image.fromarray(sample("astronaut")).resize((400, 400))
    assert analyser.find(smaller)[0].embedding @ faces["astronaut"].embedding > 0.9
    assert abs(faces["hopper"].embedding @ faces["astronaut"].embedding) < 0.5
    assert all(f.turn < 0.3 and f.sharpness > 100 for f in faces.values())


@pytest.mark.parametrize("size", [480, 320])
def test_smaller_inputs_find_faces_too(size):
    small = FaceAnalyser(PACK, name="builtin-faces", det_size=size, use_cuda=False)
    (found,) = small.find(Image.fromarray(sample("astronaut")))
    left, top, right, bottom = REFERENCES["astronaut"][0]["box"][:4]
    assert (
        np.abs(np.array([found.box.x0, found.box.y0, found.box.x1, found.box.y1]) - (left, top, right, bottom)).max()
        < 8
    )


def test_the_bank_of_faces_is_what_the_build_samples(tmp_path):
    write_bank(load_population(), tmp_path / "bank.safetensors")
    assert (tmp_path / "bank.safetensors").read_bytes() == (BUILTIN / "face_bank.safetensors").read_bytes()


def test_a_second_look_describes_small_faces_better(analyser):
    """At 18 pixels of the input, landmarks are coarse until the face is detected again in a window."""
    rgb = Image.fromarray(sample("astronaut"))
    wide = Image.new("RGB", (3000, 3000))
    wide.paste(rgb, (1200, 1200))
    once = FaceAnalyser(PACK, name="builtin-faces", det_size=SIDE, use_cuda=False, second_look=0.0)
    whole = analyser.find(rgb)[0].embedding
    likeness = {name: a.find(wide)[0].embedding @ whole for name, a in (("once", once), ("twice", analyser))}
    assert likeness["twice"] > max(0.9, likeness["once"])
