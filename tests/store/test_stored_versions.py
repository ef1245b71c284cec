"""Stores of released versions stay readable; tests/stores/README.md says how they were made."""

import json
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.core.tensors import load_tensors
from engine.core.types import Kind, Verdict
from engine.store.calibrations import Thresholds
from engine.store.concepts import ConceptStore
from engine.store.heads import BodyHead, FaceHead, ObjectHead
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.scenes import compose

STORES = Path(__file__).parents[1] / "stores"


@pytest.fixture(params=sorted(p.name for p in STORES.iterdir() if p.is_dir()))
def stored(request, home):
    """The folder of a store that a released version made, as MYVLM_HOME."""
    with zipfile.ZipFile(STORES / request.param / "store.zip") as archive:
        archive.extractall(home)
    return home


def test_concepts_decisions_and_calibrations_are_read(stored):
    store = ConceptStore(stored)
    anna, rex = store.all()
    assert (anna.name, anna.kind, anna.identifier, len(anna.references)) == ("Anna", Kind.PERSON, "Bob", 2)
    assert (rex.name, rex.kind, rex.identifier, len(rex.references)) == ("Rex", Kind.PET, "sks", 2)
    assert [r.path for r in rex.references] == [Path("/photos/Rex/0.jpg"), Path("/photos/Rex/1.jpg")]
    assert all(r.box for c in (anna, rex) for r in c.references)
    decided = [(d.path.name, d.verdict) for d in store.decisions.of(rex.id)]
    assert sorted(decided) == [("anna.jpg", Verdict.REJECT), ("both.jpg", Verdict.CONFIRM)]
    calibration = store.calibrations.pick("some-model", "digest", Path("/photos"))
    assert calibration is not None
    assert (calibration.per_1000, calibration.photos, calibration.expected) == (1.0, 120, 0.5)
    assert calibration.thresholds[rex.id] == Thresholds(1.0, -1.0, True)
    assert calibration.tensors["strangers"].shape == (2, 3)


def test_embeddings_are_read(stored):
    store = ConceptStore(stored)
    rex = store.get("Rex")
    embedding = store.load_embedding(rex, "some/vlm", "r1")
    assert (embedding.identifier, embedding.steps, embedding.seed, embedding.loss) == ("sks", 100, 7, 0.25)
    expected = np.arange(1, 9, dtype=np.float32)[None]
    assert np.allclose(embedding.vector, expected / np.linalg.norm(expected))
    assert embedding.photos.split() == sorted(r.content_hash for r in rex.references)


def test_every_head_is_encoded_as_it_was(stored):
    store = ConceptStore(stored)
    rows = sqlite3.connect(stored / "store.db").execute("select concept_id, encoder, kind, file, facts from heads")
    types = []
    for concept_id, encoder, kind, file, facts in rows.fetchall():
        head = store.load_head(concept_id, encoder)
        assert head is not None
        tensors, encoded_facts = head.encode()
        assert str(head.kind) == kind
        assert json.dumps(encoded_facts, sort_keys=True) == facts
        original = load_tensors(stored / file)
        assert tensors.keys() == original.keys()
        for name, values in original.items():
            assert tensors[name].dtype == values.dtype, name
            assert np.array_equal(tensors[name], values), name
        types.append(type(head))
    assert set(types) == {FaceHead, ObjectHead, BodyHead}


def test_saving_a_head_again_gives_the_same_file(stored):
    store = ConceptStore(stored)
    before = sorted(p.relative_to(stored) for p in stored.glob("concepts/*/head-*"))
    prints = [store.head_fingerprint(c) for c in store.all()]
    for concept in store.all():
        for stored_head in store.facts(concept).heads:
            store.renew_head(store.load_head(concept.id, stored_head.encoder))
    assert sorted(p.relative_to(stored) for p in stored.glob("concepts/*/head-*")) == before
    assert [store.head_fingerprint(c) for c in store.all()] == prints


def test_concepts_are_recognised(stored, myvlm, tmp_path):
    save_photo(compose(np.random.default_rng(5), (REX, ANNA), place="forest"), tmp_path / "new.jpg")
    for name in ("Rex", "Anna"):
        shown = myvlm("concepts", "show", name, tmp_path / "new.jpg", "--json")
        assert shown.code == 0, shown.err
        assert shown.json["outcome"] == "named", shown.json
