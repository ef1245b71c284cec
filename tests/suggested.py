"""Libraries in which nothing is certain: calibrations set by hand, after which matches are suggestions."""

import os
from pathlib import Path

import numpy as np

from engine.core.types import Kind
from engine.recognition.enrolled import HeadGroup, read_enrolled, recognisable
from engine.recognition.fits import make_reference_set
from engine.recognition.scoring import fit
from engine.session import Session, SessionOptions
from engine.store.calibrations import StoredCalibration, Thresholds

EVERYTHING, NOTHING = -90.0, 90.0


def settle(library: Path, maybe: float = EVERYTHING, name: float = NOTHING) -> None:
    """Calibrate a folder by hand: with these thresholds nobody is named, and whoever is most alike is a maybe."""
    session = Session(SessionOptions("storybook"), Path(os.environ["MYVLM_HOME"]))
    for people in (True, False):
        concepts = [
            c for c in recognisable(session.store, session.recogniser_config) if (c.kind is Kind.PERSON) is people
        ]
        if not concepts:
            continue
        known = read_enrolled(session.store, session.recogniser_config, session.recognition)
        heads = known.group(HeadGroup.FACES if people else HeadGroup.REGIONS)
        scorer = fit(make_reference_set(session.recogniser_config, heads, ()))
        width = len(next(iter(scorer.gallery.concepts)).views[0])
        tensors = {**scorer.tensors(), "strangers": np.zeros((0, width), np.float16)}
        model = session.recogniser_config.head_id(concepts[0].kind)
        thresholds = {c.id: Thresholds(name, maybe, True) for c in concepts}
        digest = known.digest_of(heads)
        session.store.calibrations.save(StoredCalibration(library, model, digest, 1.0, 400, 1.0, thresholds, tensors))
    session.store.close()
