"""Digests that stores and sidecars of earlier versions hold; a renamed class or field must not change them."""

import pytest

from engine.captioning.requested_concepts import RequestedConcepts
from engine.captioning.staleness import compute_cache_keys
from engine.recognition.enrolled import EnrolledHeads, gallery_digest
from engine.recognition.gallery import build_gallery
from engine.session import Session, SessionOptions
from engine.vision.config import find_recogniser


def test_calibrations_of_earlier_versions_are_found():
    """It may change only together with `enrolled.METHOD`; dfn5b has no bank, whose features differ by CPU."""
    assert gallery_digest(find_recogniser("dfn5b"), {}) == "5c6234c5dcbfeceffefe7894"


@pytest.mark.parametrize(
    ("vlm", "expected"),
    [
        ("llava-1.6", "57b1cbaaaf814029cbe3cbbf"),
        ("blip-2", "9c57e5f515a0598ce308e024"),
        ("minigpt-v2", "4239a3438b810c6b4fda3945"),
    ],
)
def test_captions_of_earlier_versions_are_up_to_date(home, empty_hub, vlm, expected):
    """It may change only together with `staleness.WORDING`, or with the config of the VLM."""
    session = Session(SessionOptions(vlm=vlm), home, create=False)
    config = session.recogniser_config
    enrolled = EnrolledHeads(config, session.recognition, (), {}, {}, {})
    gallery = build_gallery(enrolled, (), calibrations=session.store.calibrations, decisions=(), library=None)
    keys = compute_cache_keys(session.store, config, session.vlm_in_use, RequestedConcepts(enrolled), gallery)
    assert keys.settings == expected
