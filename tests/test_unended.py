"""JPEG files that were cut off: whole pictures are read, others are refused."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from engine.errors import PhotoError
from engine.photos.decode import NO_END, load_photo
from engine.photos.unended import has_end, with_end

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "4:4:4": {"subsampling": 0},
    "optimised": {"optimize": True, "quality": 40},
}


def encoded(mode="RGB", size=(203, 117), **options):
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 200, size[0] * size[1] * 3).reshape(size[1], size[0], 3)
    pixels = (ramp + rng.integers(0, 50, ramp.shape)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_whole_picture_without_end_marker_is_read_with_a_note(tmp_path, kind, mode):
    data = encoded(mode, **KINDS[kind])
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "cut.jpg").write_bytes(data[:-2])
    whole, cut = load_photo(tmp_path / "whole.jpg"), load_photo(tmp_path / "cut.jpg")
    assert whole.notes == ()
    assert cut.notes == (NO_END,) or (mode == "CMYK" and cut.notes == ())  # Pillow itself reads some of these
    assert cut.image.tobytes() == whole.image.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [4, 5, 8, 16, 50, 500, 0.1, 0.5])
def test_a_picture_with_missing_pixels_is_refused(tmp_path, kind, missing):
    data = encoded(**KINDS[kind])
    missing = int(missing * len(data)) if missing < 1 else missing
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: -2 - missing])
    with pytest.raises(PhotoError, match="damaged or truncated"):
        load_photo(path)


def test_a_progressive_picture_without_its_last_scan_is_refused():
    data = encoded(progressive=True)
    last = data.rindex(b"\xff\xda")
    assert with_end(data[:last]) is None


def test_what_follows_the_end_marker_does_not_matter():
    assert has_end(encoded() + b"trailer")
    assert not has_end(encoded()[:-2])
    assert not has_end(b"no JPEG")
    assert with_end(b"\xff\xd8") is None


def test_the_photos_of_the_case(shared, myvlm, tmp_path):
    for path in sorted((shared / "cases" / "jpeg_without_eoi").glob("*.jpg")):
        shutil.copyfile(path, tmp_path / path.name)
    result = myvlm("caption", tmp_path, "--json")
    assert [p["status"] for p in result.json["photos"]] == ["ok", "ok"]
    assert NO_END in result.json["photos"][0]["notes"]
