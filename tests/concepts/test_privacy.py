"""What must never leave, and what must be gone: the store's bytes after `forget`, permissions, pickles, the network."""

import ast
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from engine.concepts.enrol import enrol
from engine.concepts.forget import Scrub, forget
from engine.core.boxes import Box
from engine.core.errors import ConceptError
from engine.core.files import TEMPORARY_MARK
from engine.core.tensors import save_tensors
from engine.core.types import Kind, Match, PhotoFacts
from engine.session import Session, SessionOptions
from engine.sidecars.journal import Journal
from engine.sidecars.json_sidecar import PhotoRecord, render_record
from engine.sidecars.regions.named import NamedRegion
from engine.sidecars.writer import FileEdit, SidecarEdit, Writer
from engine.sidecars.xmp import Merge, SidecarContent, merge_content
from engine.store.concepts import Embedding
from engine.storybook.album import REX
from tests.learned import draw_references

ROOT = Path(__file__).resolve().parents[2]
NAME = "Rexina Ünger"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
FACTS = PhotoFacts("ab" * 32, 400, 300, "JPEG", 1)


@pytest.fixture
def session(home):
    return Session(SessionOptions("storybook"), home)


def match(concept):
    return Match(concept.id, concept.name, Kind.PET, concept.version, 0.9, 0.5, Box(10, 10, 50, 60), "detector")


def caption_photo(session, photo, *concepts, caption=None):
    """What a captioning run writes for a photo in which these concepts were recognised; no VLM is asked."""
    names = tuple(c.name for c in concepts)
    caption = caption or f"{' and '.join(names) or 'Nobody'} on the beach."
    words = SidecarContent(
        caption=caption,
        names=names,
        people=(),
        hierarchy=tuple(f"Pets|{n}" for n in names),
        concepts=tuple(f"{c.id}@{c.version}" for c in concepts),
        vlm="embedded:vlm@1",
        settings="s",
        regions=tuple(NamedRegion(n, 0.2 + 0.1 * i, 0.2, 0.1, 0.1, "Pet") for i, n in enumerate(names)),
        dimensions=(400, 300),
    )
    account = PhotoRecord(FACTS, caption, tuple(map(match, concepts)), "embedded:vlm", "1", "k")
    xmp = FileEdit(photo.with_name(photo.name + ".xmp"), lambda old: merge_content(old, words, NOW))
    json = FileEdit(photo.with_name(photo.name + ".myvlm.json"), lambda old: Merge(render_record(account)))
    with Writer(session.folder, "caption") as writer:
        (done,) = writer.write([SidecarEdit(photo, (xmp, json))])
    assert done.error is None, done.error
    return xmp.path, json.path


def learn_by_hand(session, folder, name, who=REX, seed=1):
    """A concept with all that training leaves behind, but without training."""
    draw_references(folder, who, seed)
    concept = enrol(session, name, [folder]).concept
    rng = np.random.default_rng(seed)
    vector = rng.standard_normal((1, 192)).astype(np.float32)
    session.store.save_embedding(
        Embedding(concept.id, session.vlm_id, session.vlm_revision, concept.identifier, 10, 0, 0.1, vector)
    )
    session.store.save_variations(concept, "cd" * 32, "vlm", "1", f"{name} runs", (f"Here {name} runs",))
    unfinished = session.store.training_file(concept, session.vlm_id)
    save_tensors(unfinished, {"state": rng.standard_normal(64).astype(np.float32)}, {"name": name})
    return concept


def every_byte(folder):
    """All files of a folder, and all that is compressed in them."""
    for path in sorted(folder.rglob("*")):
        yield os.fsencode(path.relative_to(folder))
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield data
        for found in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
            try:
                yield zlib.decompressobj().decompress(data[found.start() :], 2**22)
            except zlib.error:
                continue


def traces(folder, words):
    held = [b.lower() for b in every_byte(folder)]
    return sorted({w for w in words for b in held if w.lower() in b})


def secrets_of(session, concept):
    """What would give a concept away: names, paths, hashes, and stretches of its numbers."""
    words = [concept.name.encode(), concept.id.encode()]
    for reference in concept.references:
        words += [os.fsencode(reference.path), reference.content_hash.encode()]
    for path in (session.folder / "concepts" / concept.id).iterdir():
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        words += [data[at : at + 24] for at in range(start, len(data) - 24, max(24, (len(data) - start) // 20))]
    return [w for w in words if len(set(w)) > 3]


def test_forgetting_leaves_no_trace_in_the_store(session, tmp_path):
    rex = learn_by_hand(session, tmp_path / "rex_refs", NAME)
    other = learn_by_hand(session, tmp_path / "other", "Milo", seed=9, who=replace(REX, category="cat"))
    for k in range(3):  # the second time the pre-images hold the name; the references are captioned, too
        for photo in (tmp_path / "album" / "a.jpg", tmp_path / "rex_refs" / "0.jpg"):
            photo.parent.mkdir(exist_ok=True)
            caption_photo(session, photo, rex, other, caption=f"{NAME} for the {k}. time")
    caption_photo(session, tmp_path / "album" / "b.jpg", other)
    secrets = secrets_of(session, rex)
    kept = secrets_of(session, other)
    assert len(traces(session.folder, secrets)) > len(secrets) * 0.9, "the test must be able to see them"
    done = forget(session, NAME.upper())
    assert (done.name, done.references, done.known) == (NAME, 4, True)
    assert done.journal_entries >= 4
    assert done.cache_entries >= 4
    for _ in range(2):  # with the databases open, and closed
        assert traces(session.folder, secrets) == []
        assert other.name.encode() in traces(session.folder, kept)
        session.store.close()
    left = Journal(session.folder)
    assert {p.name for p in left.sidecars()} >= {"b.jpg.myvlm.json", "b.jpg.xmp"}, "others can still be undone"
    assert NAME.encode() in (tmp_path / "album" / "a.jpg.xmp").read_bytes(), "sidecars stay unless asked for"


def scrubbed(done):
    return {s.path.name: (str(s.outcome), s.human) for s in done.sidecars}


@pytest.fixture
def family(session, tmp_path):
    """Rex and Milo, and photos with sidecars of ours: of Rex, of both, of Milo."""
    rex = learn_by_hand(session, tmp_path / "rex_refs", NAME)
    milo = learn_by_hand(session, tmp_path / "other", "Milo", seed=9, who=replace(REX, category="cat"))
    album = tmp_path / "album"
    album.mkdir()
    rdf = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    rated = '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/>'
    rated = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}{rated}</rdf:RDF></x:xmpmeta>'
    (album / "rex.jpg.xmp").write_text(rated)
    for name, who in (("rex", (rex,)), ("both", (rex, milo)), ("milo", (milo,))):
        shutil.copy(tmp_path / "rex_refs" / "0.jpg", album / f"{name}.jpg")
        caption_photo(session, album / f"{name}.jpg", *who)
    return album


def test_scrubbing_takes_our_words_and_leaves_the_rest(session, family):
    human = family / "human.jpg.xmp"
    human.write_bytes(
        (family / "milo.jpg.xmp").read_bytes().replace(b"Milo on the beach.", f"Oma with {NAME}, 1999".encode())
    )
    shutil.copy(family / "rex.jpg", family / "human.jpg")
    shutil.copy(family / "rex.jpg", family / "human2.jpg")
    (family / "human2.jpg.xmp").write_text(f"<icloudpd>{NAME}")  # another program's, and damaged
    before = {p: p.read_bytes() for p in family.iterdir()}
    runs = Journal(session.folder).runs()
    done = forget(session, NAME, Scrub((family,)))
    assert {r.id for r in Journal(session.folder).runs()} <= {r.id for r in runs}
    assert scrubbed(done) == {
        "rex.jpg.xmp": ("cleaned", False),
        "rex.jpg.myvlm.json": ("deleted", False),
        "both.jpg.xmp": ("cleaned", False),
        "both.jpg.myvlm.json": ("deleted", False),
        "human.jpg.xmp": ("kept", True),
        "human2.jpg.xmp": ("kept", True),
    }
    for path, data in before.items():
        if path.name.startswith(("milo", "human")) or path.suffix == ".jpg":
            assert path.read_bytes() == data
    for path in (family / "rex.jpg.xmp", family / "both.jpg.xmp"):
        data = path.read_bytes()
        assert NAME.encode() not in data
        assert b"R\xc3\x9cnger" not in data.upper()
    assert b"<rdf:li>Milo</rdf:li>" in (family / "both.jpg.xmp").read_bytes()
    assert b'Rating="5"' in (family / "rex.jpg.xmp").read_bytes()
    assert traces(session.folder, [NAME.encode()]) == []
    assert not list(family.glob(".myvlm-tmp*"))


def test_the_journal_knows_sidecars_without_being_given_folders(session, family):
    done = forget(session, NAME, Scrub())
    assert {"rex.jpg.xmp", "both.jpg.xmp", "rex.jpg.myvlm.json"} <= set(scrubbed(done))
    assert traces(family, [NAME.encode()]) == []


@pytest.mark.parametrize("documents", ["there", "deleted"])
def test_old_names_of_a_renamed_concept_go_too(session, family, documents):
    session.store.rename(NAME, "Bello")
    if documents == "deleted":
        for path in family.glob("*.json"):
            path.unlink()
    done = forget(session, "Bello", Scrub((family,)))
    assert traces(family, [NAME.encode(), b"Bello"]) == []
    assert {"rex.jpg.xmp", "both.jpg.xmp"} <= set(scrubbed(done))
    assert traces(session.folder, [NAME.encode(), b"Bello"]) == []
    assert b"Milo" in (family / "milo.jpg.xmp").read_bytes()


def test_what_cannot_be_scrubbed_keeps_the_concept_until_the_same_command_can(session, family):
    whole = (family / "rex.jpg.xmp").read_bytes()
    (family / "rex.jpg.xmp").write_bytes(whole[:-30])
    done = forget(session, NAME, Scrub())
    assert (done.complete, scrubbed(done)["rex.jpg.xmp"]) == (False, ("failed", False))
    assert scrubbed(done)["both.jpg.xmp"] == ("cleaned", False), "the others are done"
    assert session.store.find(NAME)
    (family / "rex.jpg.xmp").write_bytes(whole)
    again = forget(session, NAME, Scrub())
    assert (again.known, again.complete, scrubbed(again)) == (True, True, {"rex.jpg.xmp": ("cleaned", False)})
    assert traces(family, [NAME.encode()]) == traces(session.folder, [NAME.encode()]) == []
    with pytest.raises(ConceptError):
        forget(session, NAME, Scrub())
    (family / "rex.jpg.xmp").write_bytes(whole)  # from a backup, say
    assert scrubbed(forget(session, NAME, Scrub((family,)))) == {"rex.jpg.xmp": ("cleaned", False)}


def test_an_unmounted_library_keeps_the_concept_or_not_as_asked(myvlm, session, family, tmp_path):
    away = tmp_path / "away"
    family.rename(away)
    session.store.close()
    result = myvlm("forget", NAME, "--scrub-sidecars", "--yes", "--json")
    assert (result.code, result.json["complete"]) == (1, False)
    (told,) = result.json["sidecars"]
    assert (told["file"], told["status"]) == (str(family), "failed")
    assert "mount it and run the same command again" in told["reason"]
    assert len(myvlm("concepts", "--json").json["concepts"]) == 2
    away.rename(family)
    result = myvlm("forget", NAME, "--scrub-sidecars", "--yes", "--json")
    assert (result.code, result.json["complete"]) == (0, True)
    assert traces(family, [NAME.encode()]) == []
    family.rename(away)
    assert myvlm("forget", "Milo", "--scrub-sidecars", "--yes").code == 1
    result = myvlm("forget", "Milo", "--scrub-sidecars", "--anyway", "--yes", "--json")
    assert (result.code, result.json["complete"]) == (1, True), "it is forgotten, and it is told what was not looked at"
    assert myvlm("concepts", "--json").json["concepts"] == []


def test_a_disk_that_is_gone_is_told_of_once(session, tmp_path, family):
    milo = session.store.get("Milo")
    disk = tmp_path / "disk"
    for year in ("2019", "2020"):
        (disk / year).mkdir(parents=True)
        caption_photo(session, disk / year / "a.jpg", milo)
    shutil.rmtree(disk)
    assert scrubbed(forget(session, NAME, Scrub())).get("disk") == ("failed", False)


def test_a_deleted_sidecar_is_gone_and_a_missing_path_is_not_silent(session, family):
    for path in family.glob("rex.jpg.*"):
        path.unlink()
    done = forget(session, NAME, Scrub((family / "typo",)))
    assert {n: s for n, s in scrubbed(done).items() if s[0] == "failed"} == {"typo": ("failed", False)}
    done = forget(session, NAME, Scrub())
    assert done.complete
    assert not {"rex.jpg.xmp", "rex.jpg.myvlm.json"} & set(scrubbed(done))


@pytest.mark.parametrize("how", ["pruned", "another was forgotten"])
def test_sidecars_are_known_after_their_runs_are_forgotten(session, family, how):
    if how == "pruned":
        assert Journal(session.folder).prune(0)
    else:
        forget(session, "Milo")
    done = forget(session, NAME, Scrub())
    assert {"rex.jpg.xmp", "both.jpg.xmp", "rex.jpg.myvlm.json"} <= set(scrubbed(done))
    assert traces(family, [NAME.encode()]) == []


def test_leftovers_of_a_killed_scrub_are_removed(session, family):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leftover = family / f"{TEMPORARY_MARK}{dead.pid}-aa"
    leftover.write_text(NAME)
    forget(session, NAME, Scrub())
    assert not leftover.exists()


def test_help_shows_each_command_its_own_example(myvlm):
    for command in (("forget",), ("concepts", "forget")):
        text = myvlm(*command, "--help").out
        assert f"Example: myvlm {' '.join(command)} rex" in text
        assert "Keep sidecars" not in text


def test_a_sidecar_that_changes_meanwhile_is_read_again(session, family, monkeypatch):
    from engine.concepts import forget as module

    target, real, changed = family / "rex.jpg.xmp", module._without, []

    def meddle(data, sought):
        after = real(data, sought)
        if not changed and after != data:
            changed.append(target.write_bytes(data.replace(b"<x:xmpmeta ", b'<x:xmpmeta my="1" ')))
        return after

    monkeypatch.setattr(module, "_without", meddle)
    paths = [p for p in family.iterdir() if p.name.startswith("rex.jpg")]
    forget(session, NAME, Scrub(tuple(paths)))
    data = target.read_bytes()
    assert b'my="1"' in data
    assert NAME.encode() not in data


def test_command(myvlm, session, family):
    session.store.close()
    assert myvlm("concepts", "forget", NAME, family, "--yes").code == 2
    assert myvlm("concepts", "forget", "ghost", "--scrub-sidecars", "--yes").code == 2
    result = myvlm("concepts", "forget", NAME, family, "--scrub-sidecars", "--yes", "--json")
    assert result.code == 0, result.err
    assert result.json["forgotten"] == NAME
    assert {Path(s["file"]).name: s["status"] for s in result.json["sidecars"]}["rex.jpg.xmp"] == "cleaned"
    assert traces(family, [NAME.encode()]) == []
    assert [c["name"] for c in myvlm("concepts", "--json").json["concepts"]] == ["Milo"]


def test_everything_is_private_whatever_the_umask(session, tmp_path):
    before = os.umask(0)
    try:
        rex = learn_by_hand(session, tmp_path / "rex", NAME)
        caption_photo(session, tmp_path / "rex" / "0.jpg", rex)
        forget(session, NAME)
        learn_by_hand(session, tmp_path / "again", NAME)
    finally:
        os.umask(before)
    found = [session.folder, *session.folder.rglob("*")]
    assert len(found) > 8
    for path in found:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


SOURCES = sorted(p for top in ("engine", "myvlm_cli") for p in (ROOT / top).rglob("*.py"))


def test_nothing_is_pickled():
    for path in SOURCES:
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            modules = {getattr(node, "module", None) or ""} if isinstance(node, ast.ImportFrom) else set()
            modules |= {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            found = {m.split(".")[0] for m in modules} & {
                "cPickle",
                "dill",
                "joblib",
                "shelve",
                "marshal",
                "cloudpickle",
            }
            assert not found, path
            assert not (isinstance(node, ast.ImportFrom) and node.module == "pickle"), path
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "pickle":
                assert node.attr == "UnpicklingError", f"{path}:{node.lineno}"  # the name of torch.load's refusal
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                of = getattr(node.func.value, "id", "")
                options = {k.arg: k.value for k in node.keywords}
                if of == "torch":
                    assert getattr(options.get("weights_only"), "value", False) is True, f"{path}:{node.lineno}"
                if of in ("np", "numpy"):
                    assert getattr(options.get("allow_pickle"), "value", False) is False, f"{path}:{node.lineno}"


def test_the_store_holds_only_databases_tensors_and_text(session, tmp_path):
    rex = learn_by_hand(session, tmp_path / "rex", NAME)
    caption_photo(session, tmp_path / "rex" / "0.jpg", rex)
    session.store.close()
    for path in (p for p in session.folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        kind = path.name.rsplit(".", 1)[-1]
        assert kind in ("db", "db-wal", "db-shm", "safetensors", "lock", "owner", "toml"), path
        if kind == "db":
            assert data.startswith(b"SQLite format 3\0")
            db = sqlite3.connect(path)
            assert db.execute("pragma secure_delete").fetchone()
            db.close()
        if kind == "safetensors":
            assert data[8:9] == b"{"
        if kind == "lock":
            assert data == b""


OFFLINE = textwrap.dedent(
    """
    import sys
    seen = []

    def watch(event, arguments):
        if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request"):
            seen.append((event, str(arguments[:2])))
        elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            if not isinstance(arguments[-1], (str, bytes)):  # a path is a Unix socket of this machine
                seen.append((event, str(arguments[-1])))

    sys.addaudithook(watch)
    from myvlm_cli.main import main

    refs, photo = sys.argv[1:3]
    for command in (
        ["add-concept", "Rex", refs, "--vlm", "storybook"],
        ["train", "Rex", "--steps", "1", "--vlm", "storybook"],
        ["caption", photo, "--vlm", "storybook"],
    ):
        sys.argv = ["myvlm", *command]
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, (command, stop.code)
    assert not seen, seen
    print("OFFLINE")
    """
)


def run_offline(tmp_path, *prefix):
    draw_references(tmp_path / "rex", REX, 1)
    script = tmp_path / "offline.py"
    script.write_text(OFFLINE)
    command = [*prefix, sys.executable, "-W", "ignore", script, tmp_path / "rex", tmp_path / "rex" / "0.jpg"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"MYVLM_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        list(map(os.fspath, command)), env=environment, capture_output=True, text=True, timeout=900, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "OFFLINE" in result.stdout


def test_learning_and_captioning_open_no_connection(tmp_path):
    run_offline(tmp_path)


def test_learning_and_captioning_work_without_any_network_interface(tmp_path):
    probe = ["unshare", "-rn", sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 80), 2)"]
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare on this machine")
    tried = subprocess.run(probe, capture_output=True, text=True, timeout=60)
    if "unreachable" not in tried.stderr:
        pytest.skip(f"network namespaces are not permitted here: {tried.stderr.strip()[-200:]}")
    run_offline(tmp_path, "unshare", "-rn")
