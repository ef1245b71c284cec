import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.core.boxes import Box
from engine.core.errors import ArtefactError, ConceptError, NotTrainedError, StoreError
from engine.core.tensors import load_tensors, save_tensors
from engine.core.types import Kind, Reference
from engine.store.concepts import ConceptStore, Embedding
from engine.vision.cache import FeatureCache
from tests.heads import object_head

REFERENCE = Reference(Path("/photos/\udcff odd.jpg"), "ab" * 32, Box(1, 2, 3, 4))


@pytest.fixture
def store(home):
    return ConceptStore(home)


def put(store, name="Rex", identifiers=("sks", "Max")):
    return store.put(name, Kind.PET, "dog", identifiers, (REFERENCE,))


def embedding(concept, vlm="some/vlm", revision="r1"):
    return Embedding(concept.id, vlm, revision, concept.identifier, 100, 0, 0.1, np.full((1, 4), 0.5, np.float32))


def test_a_concept_comes_back_as_it_was_stored(store):
    concept = put(store)
    assert store.get("rex") == concept
    assert concept.references == (REFERENCE,)


def test_two_concepts_get_different_identifiers(store):
    assert put(store).identifier == "sks"
    assert put(store, "Luna").identifier == "Max"


def test_version_rises_with_matches_and_words(store):
    concept = put(store)
    versions = [concept.version]
    store.save_head(object_head(concept.id))
    versions.append(store.get("Rex").version)
    store.rename("Rex", "Max")
    versions.append(store.get("Max").version)
    put(store, "Max")
    versions.append(store.get("Max").version)
    assert versions == sorted(set(versions))
    store.save_embedding(embedding(concept))
    assert store.get("Max").version == versions[-1]


def test_embeddings_of_another_vlm_or_revision_are_refused(store):
    concept = put(store)
    store.save_embedding(embedding(concept))
    assert store.load_embedding(concept, "some/vlm", "r1").vector.shape == (1, 4)
    for vlm, revision in (("other/vlm", "r1"), ("some/vlm", "r2")):
        with pytest.raises(NotTrainedError, match="not trained yet"):
            store.load_embedding(concept, vlm, revision)


def test_heads_of_another_encoder_are_not_returned(store):
    concept = put(store)
    store.save_head(object_head(concept.id))
    assert store.load_head(concept.id, "enc").scale == 1.0
    assert store.load_head(concept.id, "other") is None


def test_forget_leaves_no_row_and_no_file(store, home):
    concept = put(store, "Unforgettable")
    store.save_embedding(embedding(concept))
    store.forget("Unforgettable")
    with pytest.raises(ConceptError):
        store.get("Unforgettable")
    assert not (home / "concepts" / concept.id).exists()
    store.close()
    assert not any(b"Unforgettable" in p.read_bytes() for p in home.rglob("*") if p.is_file())


def test_everything_is_private(store, home):
    old = os.umask(0)
    try:
        concept = put(store)
        store.save_embedding(embedding(concept))
        cache = FeatureCache(home / "cache")
        cache.save("m", [("h", {"a": np.ones(2, np.float32)})])
    finally:
        os.umask(old)
    assert cache.has_any("h", ["m"]), "it is open: its files are all there"
    for path in (home, *home.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_damaged_or_foreign_file_is_an_error_not_a_crash(store, home, tmp_path):
    concept = put(store)
    store.save_embedding(embedding(concept))
    file = next((home / "concepts" / concept.id).glob("embedding*"))
    file.write_bytes(b"\x10\0\0\0\0\0\0\0not safetensors")
    with pytest.raises(ArtefactError):
        store.load_embedding(concept, "some/vlm", "r1")
    save_tensors(tmp_path / "x.safetensors", {"a": np.ones(2, np.float32)}, {})
    assert load_tensors(tmp_path / "x.safetensors")["a"].tolist() == [1.0, 1.0]
    store.close()
    (home / "store.db").write_bytes(b"this is no database, it is text" * 100)
    with pytest.raises(StoreError):
        ConceptStore(home)


WRITER = """
import sys
from pathlib import Path
from engine.store.concepts import ConceptStore
from engine.core.types import Kind
store = ConceptStore(Path(sys.argv[1]))
print("ready", flush=True)
for i in range(int(sys.argv[3])):
    store.put(f"{sys.argv[2]} {i}", Kind.PET, "dog", ("sks",), ())
"""


def start_writer(home, tag, count):
    code = [sys.executable, "-c", textwrap.dedent(WRITER), str(home), tag, str(count)]
    return subprocess.Popen(code, stdout=subprocess.PIPE)


def test_two_processes_create_and_fill_one_store(home):
    writers = [start_writer(home, tag, 20) for tag in "ab"]
    assert [w.wait(60) for w in writers] == [0, 0]
    for w in writers:
        w.stdout.close()
    assert len(ConceptStore(home).all()) == 40


def test_a_store_that_another_process_is_just_creating_is_waited_for(home):
    """Switching to WAL is not covered by SQLite's busy timeout: it fails at once beside a write that has begun."""
    import sqlite3
    import threading

    other = sqlite3.connect(home / "store.db", isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    timer = threading.Timer(0.3, other.execute, ["commit"])
    timer.start()
    store = ConceptStore(home)
    assert store.all() == ()
    store.close()
    timer.join()
    other.close()


def test_a_killed_writer_leaves_a_store_that_opens(home):
    for delay in (0.0, 0.02, 0.05, 0.1):
        writer = start_writer(home, f"k{delay}", 10_000)
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        store = ConceptStore(home)
        assert all(c.name[0] in "ka" and c.category == "dog" for c in store.all())
        store.put(f"after {delay}", Kind.PET, "dog", ("sks",), ())
        store.close()


def test_the_first_schema_can_be_opened(home):
    """A store of schema m001, byte for byte what release 0.1.0 creates, must open for ever."""
    import sqlite3

    put(ConceptStore(home))
    with sqlite3.connect(home / "store.db") as db:
        tables = {row[0] for row in db.execute("select name from sqlite_master where type = 'table'")}
    assert {"concepts", "concept_references", "heads", "embeddings"} <= tables


def test_other_tensors_change_the_fingerprint_and_leave_no_old_file(store, home):
    concept = store.put("Rex", Kind.PET, "dog", ("sks",), ())
    prints = []
    for value in (1.0, 2.0, 1.0):
        vector = np.full((1, 4), value, np.float32)
        store.save_embedding(Embedding(concept.id, "vlm", "rev", "sks", 1, 0, 0.1, vector))
        prints.append(store.head_fingerprint(concept) + store.caption_fingerprint(concept, "vlm", "rev"))
    assert prints[0] == prints[2] != prints[1]
    assert len(list((home / "concepts" / concept.id).glob("embedding-*"))) == 1


def test_heads_and_the_voice_in_captions_have_fingerprints_of_their_own(store):
    concept = put(store)
    store.save_embedding(embedding(concept))
    before = store.caption_fingerprint(concept, "some/vlm", "r1"), store.head_fingerprint(concept)
    store.save_embedding(embedding(concept, vlm="other/vlm"))
    store.save_embedding(replace(embedding(concept), task="vqa"))
    assert (store.caption_fingerprint(concept, "some/vlm", "r1"), store.head_fingerprint(concept)) == before
    store.save_head(object_head(concept.id))
    assert store.head_fingerprint(concept) != before[1]
    renamed = store.rename("Rex", "Max")
    assert store.caption_fingerprint(renamed, "some/vlm", "r1") != before[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_not_stored(store, home, value):
    concept = put(store)
    with pytest.raises(ArtefactError, match="not finite"):
        store.save_embedding(replace(embedding(concept), vector=np.full((1, 4), value, np.float32)))
    assert not list((home / "concepts").rglob("*.safetensors"))


def test_a_concept_forgotten_meanwhile_is_an_error_and_leaves_nothing(store, home):
    concept = store.put("Rex", Kind.PET, "dog", ("sks",), ())
    store.forget("Rex")
    with pytest.raises(ConceptError, match="forgotten meanwhile"):
        store.save_embedding(Embedding(concept.id, "vlm", "rev", "sks", 1, 0, 0.1, np.zeros((1, 4))))
    assert not list((home / "concepts").rglob("*.safetensors"))


def test_a_damaged_cache_starts_anew(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.save("m", [("h", {"a": np.ones(2)})])
    cache._db.close()  # else it may write its log back over the damage
    cache = FeatureCache(tmp_path)
    data = bytearray((tmp_path / "features.db").read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"features.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "features.db").write_bytes(data)
    assert cache.load("h", "m") is None
    cache.save("m", [("h", {"a": np.ones(2)})])
    assert cache.load("h", "m")["a"].sum() == 2


def test_a_signal_waits_until_a_write_is_done_whatever_threads_run():
    code = """
    import os, signal, threading, time
    from engine.core.files import finish_first
    def stop(number, frame): raise SystemExit(130)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
    with finish_first():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        print("finished", flush=True)
    print("went on", flush=True)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (130, "finished\n")
