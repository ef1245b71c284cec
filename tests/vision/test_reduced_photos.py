"""Recognisers see enough of photos that are decoded at a reduced size, and the cache tells both decodes apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.core.boxes import iou
from engine.core.paths import STORYBOOK
from engine.photos.decode import Photo, decode_photo, load_photo, read_photo
from engine.session import Session, SessionOptions
from engine.vision.config import RecogniserConfig, find_recogniser
from engine.vision.picture_edge import decode_edge
from tests.vision.test_face_pack import sample


@pytest.fixture
def sessions(home):
    """Sessions that decode scaled and exact, on one cache and with the same models."""
    scaled, exact = (
        Session(SessionOptions("none", "storybook", "cpu", decode=decode), home) for decode in ("scaled", "exact")
    )
    exact.__dict__["recogniser"] = scaled.recogniser
    return scaled, exact


@pytest.fixture
def large(tmp_path) -> Path:
    """Anna and Rex in a photo of three megapixels."""
    from engine.benchmarks.speed.large_photos import draw_large_photos

    return draw_large_photos(tmp_path / "large", 13, 3, (2016, 1512))[12]


def reduced(path: Path, config: RecogniserConfig) -> Photo:
    photo = decode_photo(read_photo(path), edge=decode_edge(config))
    assert photo.full is not None
    return photo


def test_the_sizes_of_the_models_inputs_are_those_of_their_files():
    import engine.core.device  # noqa: F401

    import open_clip

    storybook = find_recogniser("storybook")
    encoder = json.loads((STORYBOOK / "encoder" / "open_clip_config.json").read_text("utf-8"))
    detector = json.loads((STORYBOOK / "detector" / "preprocessor_config.json").read_text("utf-8"))
    assert storybook.encoder_edge == encoder["model_cfg"]["vision_cfg"]["image_size"]
    assert {storybook.detector_edge} == set(detector["size"].values())
    dfn5b = find_recogniser("dfn5b")
    assert dfn5b.encoder_edge == open_clip.get_model_config(dfn5b.encoder)["vision_cfg"]["image_size"]


def test_photos_have_two_pixels_for_each_that_a_model_takes():
    edges = {name: decode_edge(find_recogniser(name)) for name in ("storybook", "builtin", "dfn5b")}
    assert edges == {"storybook": 640, "builtin": 1280, "dfn5b": 1800}


def test_features_of_both_decodes_are_alike_and_kept_apart(sessions, large):
    scaled, exact = sessions
    photo, whole = reduced(large, scaled.recogniser_config), load_photo(large)
    (faces,), (regions,) = (
        scaled.extractor.find_faces([photo], keep=True),
        scaled.extractor.find_regions([photo], keep=True),
    )
    key = photo.facts.content_hash
    assert scaled.extractor.has(key, faces=True, regions=True)
    assert not exact.extractor.has(key, faces=True, regions=False), "an exact decode does not take scaled features"
    assert exact.extractor.cached_regions(key) is None
    exact_faces = exact.extractor.find_faces([whole], keep=True)[0]
    exact_regions = exact.extractor.find_regions([whole], keep=True)[0]
    assert len(faces) == len(exact_faces) == 1
    assert iou(photo.in_photo(faces[0].box), exact_faces[0].box) > 0.9
    assert faces[0].embedding @ exact_faces[0].embedding > 0.97
    assert len(regions.regions) == len(exact_regions.regions)
    for r, e in zip(regions.regions, exact_regions.regions, strict=True):
        assert iou(photo.in_photo(r.box), e.box) > 0.97
    assert (regions.features * exact_regions.features).sum(axis=1).min() > 0.999
    kept = scaled.extractor.cached_faces(key)
    assert kept and np.array_equal(kept[0].embedding, exact_faces[0].embedding), "exact features are preferred"


def test_features_that_an_earlier_version_cached_are_used(sessions, large, monkeypatch):
    scaled, exact = sessions
    exact.extractor.find_faces([load_photo(large)], keep=True)
    monkeypatch.setattr(type(scaled.recogniser), "find_faces", None)
    assert len(scaled.extractor.find_faces([reduced(large, scaled.recogniser_config)], keep=True)[0]) == 1


@pytest.mark.parametrize(("side", "again"), [(1500, 0), (300, 1)])
def test_only_photos_with_small_faces_are_decoded_again(tmp_path, side, again):
    """A face of 75 pixels, 37 in the reduced picture, is described by all pixels."""
    from engine.vision.face_pixels import FacePixels
    from engine.vision.faces import FaceAnalyser

    face = Image.fromarray(sample("astronaut")).resize((side, side), Image.Resampling.LANCZOS)
    wide = Image.new("RGB", (2560, 1920), (90, 120, 90))
    wide.paste(face, (200, 100))
    wide.save(tmp_path / "wide.jpg", quality=95)
    source = find_recogniser("builtin").faces
    analyser = FaceAnalyser(source.folder, name=source.name, det_size=640, use_cuda=False, min_sharpness=15)
    photo = decode_photo(read_photo(tmp_path / "wide.jpg"), edge=1280)
    decoded = []

    def at_full_size() -> Image.Image:
        decoded.append(1)
        return photo.at_full_size()

    ((ours,),) = analyser.find_all([FacePixels(photo.image, at_full_size)])
    (exact,) = analyser.find(photo.at_full_size())
    (blurred,) = analyser.find(photo.image)
    assert len(decoded) == again
    assert ours.embedding @ exact.embedding > 0.95
    assert again == 0 or ours.embedding @ exact.embedding > blurred.embedding @ exact.embedding + 0.02
    assert iou(photo.in_photo(ours.box), exact.box) > 0.85
