"""The cases `decisions` and `many-concepts` of the speed benchmark: both ways give the same results."""

import json
from types import MappingProxyType

import numpy as np
import pytest

from engine.benchmarks.speed import decisions, many_concepts
from engine.benchmarks.speed.measurement import SpeedSettings
from engine.session import Session, SessionOptions
from engine.store.fits import StoredFits


def test_commands_give_the_same_in_both_ways(tmp_path):
    settings = SpeedSettings(tmp_path, rounds=1)
    name, photo = decisions.prepare(settings, size=(800, 600))
    ours, theirs = list(decisions.copies(settings, "confirm"))[:2]
    (found,) = json.loads(decisions.run_ours(ours, "locate", name, photo))["photos"]
    assert found["box"] == json.loads(decisions.run_former(theirs, "locate", name, photo))
    assert found["box"] is not None
    (decided,) = json.loads(decisions.run_ours(ours, "confirm", name, photo))["decisions"]
    content = json.loads(decisions.run_former(theirs, "confirm", name, photo))
    assert decided["status"] == "decided"
    heads = []
    for home in (ours, theirs):
        session = Session(SessionOptions("none", "builtin"), home)
        concept = session.store.get(name)
        assert [d.content_hash for d in session.store.decisions.of(concept.id)] == [content]
        heads.append(session.store.load_head(concept.id, session.recogniser_config.id))
    ((key, rows),), ((former_key, former_rows),) = (h.feedback.confirmed.items() for h in heads)
    assert key == former_key == content
    assert (rows * former_rows).sum() > 0.999
    assert heads[0].weight == pytest.approx(heads[1].weight, abs=0.01)


def test_heads_are_the_same_in_both_ways(tmp_path):
    sessions = [many_concepts.open_session(tmp_path / way, "builtin") for way in ("ours", "theirs")]
    for session in sessions:
        many_concepts.fill_store(session, 0, 5)
    ours, theirs = sessions
    assert many_concepts.train_newest(ours) == many_concepts.former_train_newest(theirs) == 3
    for a, b in zip(ours.store.all(), theirs.store.all(), strict=True):
        head, former = (s.store.load_head(c.id, s.recogniser_config.id) for s, c in ((ours, a), (theirs, b)))
        assert head.weight == pytest.approx(former.weight, abs=1e-5)
        assert head.bias == pytest.approx(former.bias, abs=1e-5)


def test_a_stored_fit_classifies_as_one_made_anew(tmp_path):
    session = many_concepts.open_session(tmp_path / "home", "storybook")
    many_concepts.fill_store(session, 1, 4)
    heads, fits = MappingProxyType(dict(many_concepts.read_heads(session))), StoredFits(session.folder)
    made = [many_concepts.make_classifier(session, heads, way) for way in (None, fits, fits)]
    probe = next(iter(heads.values())).views
    assert len({m.fingerprint for m in made}) == 1
    assert np.array_equal(made[0].score(probe), made[2].score(probe))
