"""The scan benchmark: both ways find the same in the same photos."""

import numpy as np
import pytest

from engine.benchmarks.speed.former_scan import FormerExtractor
from engine.benchmarks.speed.large_photos import draw_large_photos
from engine.benchmarks.speed.measurement import SpeedSettings
from engine.benchmarks.speed.scan import Scanner, against_decoder, against_former
from engine.photos.content_hash import hash_content
from engine.vision.config import find_recogniser


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos that are large enough to be reduced to half for the built-in recogniser."""
    return draw_large_photos(tmp_path_factory.mktemp("large"), 2, 5, (2560, 1920))


def test_photos_differ_and_are_drawn_alike_again(photos, tmp_path):
    again = draw_large_photos(tmp_path, 2, 5, (2560, 1920))
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in photos]
    assert len({hash_content(p.read_bytes()) for p in photos}) == 2


def test_the_former_way_finds_what_a_scan_finds(photos, tmp_path):
    former = Scanner(tmp_path / "former", "builtin", "exact")
    former.models = FormerExtractor(find_recogniser("builtin"))
    sessions = [s.scan(photos).extractor for s in (Scanner(tmp_path / "ours", "builtin"), former)]
    for path in photos:
        key = hash_content(path.read_bytes())
        ours, theirs = (s.cached_regions(key) for s in sessions)
        assert ours and theirs and [r.source for r in ours.regions] == [r.source for r in theirs.regions]
        boxes = [np.array([(b.x0, b.y0, b.x1, b.y1) for b in (r.box for r in f.regions)]) for f in (ours, theirs)]
        assert np.abs(boxes[0] - boxes[1]).max() < 1
        assert (ours.features * theirs.features).sum(axis=1).mean() > 0.98
        assert len({len(s.cached_faces(key) or ()) for s in sessions}) == 1


def test_every_comparison_says_what_it_measured(photos, tmp_path):
    settings = SpeedSettings(tmp_path, rounds=1)
    for compare in (against_decoder, against_former):
        measured = compare(settings, photos[:1])
        assert len(measured.seconds) == len(measured.baseline_seconds) == 1
        assert measured.target and measured.predicted and measured.extra["photos_per_second"] > 0
    assert 0 < measured.extra["model_share"] < 1
