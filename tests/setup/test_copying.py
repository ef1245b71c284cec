"""`setup --from`: parts from a folder, in every layout in which people carry them."""

import hashlib
import shutil
import zipfile
from dataclasses import replace

import pytest

from engine.core.errors import EnvironmentFault, UsageError
from engine.setup.copying import copy_part, find_source
from engine.setup.fetch import fetch_part, find_pullable
from engine.setup.parts import find_part
from engine.vlms.registry import find_weights
from tests.setup.hub_server import COMMIT
from tests.setup.test_fetch import REPO, llava

FOLDER = f"models--{REPO.replace('/', '--')}"
SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture
def part():
    return find_part("llava-1.6")


@pytest.fixture
def other_machine(hub, tmp_path, said):
    """The hub cache of a machine on which the VLM was fetched; this machine's cache is empty again."""
    from huggingface_hub.constants import HF_HUB_CACHE

    hub.repos[REPO] = llava()
    fetch_part(find_pullable("llava-1.6"), said)
    folder = tmp_path / "disk"
    shutil.move(HF_HUB_CACHE, folder)
    return folder


def snapshot(folder):
    return folder / FOLDER / "snapshots" / COMMIT


def take(folder, part, said):
    source = find_source(folder, part)
    assert source is not None
    return copy_part(source, said)


def listing(folder):
    return {p.relative_to(folder).as_posix(): p.lstat().st_mtime_ns for p in folder.rglob("*")}


def without_links(folder):
    """The cache as it is on a disk that has no links: files in their place."""
    for path in snapshot(folder).iterdir():
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    shutil.rmtree(folder / FOLDER / "blobs")


def as_hub_folder(folder):
    (folder.parent / "cache").mkdir()
    folder.rename(folder.parent / "cache" / "hub")
    return folder.parent / "cache"


def test_a_copied_hub_cache_is_taken_with_its_commit(other_machine, part, said, cache):
    before = listing(other_machine)
    folder = take(other_machine, part, said)
    assert folder == cache / FOLDER / "snapshots" / COMMIT
    assert find_weights(part.config) == folder
    assert {p.name for p in folder.iterdir()} == {p.name for p in snapshot(other_machine).iterdir()}
    assert listing(other_machine) == before


def test_the_folder_around_a_hub_cache_will_do(other_machine, part, said):
    assert take(as_hub_folder(other_machine), part, said).name == COMMIT


@pytest.mark.parametrize("links", [True, False])
def test_a_damaged_copy_is_refused_by_its_checksum(other_machine, part, said, cache, links):
    if not links:
        without_links(other_machine)
    path = snapshot(other_machine) / SHARD
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.resolve().write_bytes(data)
    with pytest.raises(EnvironmentFault, match=f"{SHARD} in .* is damaged"):
        take(other_machine, part, said)
    assert find_weights(part.config) is None
    assert not list(cache.rglob(SHARD))
    assert path.is_file()


def test_an_incomplete_copy_names_what_is_missing(other_machine, part, said):
    (snapshot(other_machine) / SHARD).unlink()
    with pytest.raises(EnvironmentFault, match=f"incomplete: {SHARD} not in"):
        take(other_machine, part, said)


@pytest.mark.parametrize("name", ["llava-1.6", "llava-v1.6-vicuna-7b-hf", "."])
def test_plain_files_are_taken_whatever_their_folder_is_called(tmp_path, part, said, cache, name):
    place = tmp_path / "disk" / name
    place.mkdir(parents=True)
    for file, data in llava().items():
        (place / file).write_bytes(data)
    folder = take(tmp_path / "disk", part, said)
    assert find_weights(part.config) == folder
    assert folder.name.startswith("copied-")
    assert not (folder / "pytorch_model.bin").exists()


def test_the_hub_librarys_own_notes_give_commit_and_checksums(tmp_path, part, said):
    """The layout of `hf download --local-dir`."""
    place = tmp_path / "disk" / "llava-1.6"
    notes = place / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    for file, data in llava().items():
        (place / file).write_bytes(data)
        (notes / f"{file}.metadata").write_text(f"{COMMIT}\n{hashlib.sha256(data).hexdigest()}\n1700000000.0\n")
    assert take(tmp_path / "disk", part, said).name == COMMIT
    (place / SHARD).write_bytes(b"damaged")
    with pytest.raises(EnvironmentFault, match="is damaged"):
        take(tmp_path / "disk", part, said)


@pytest.mark.parametrize("config", ["", '{"model_type": "blip-2"}', '{"model_type": "mllama"}'])
def test_files_of_another_model_are_not_the_part(tmp_path, part, config):
    (tmp_path / "model.safetensors").write_bytes(b"")
    if config:
        (tmp_path / "config.json").write_text(config)
    assert find_source(tmp_path, part) is None


def test_a_missing_folder_is_a_wrong_option(tmp_path, part):
    with pytest.raises(UsageError, match="is no folder"):
        find_source(tmp_path / "nowhere", part)


def test_the_encoder_is_taken_from_its_file(tmp_path, said, cache):
    encoder = find_part("dfn5b")
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"weights")
    take(tmp_path, encoder, said)
    assert encoder.on_disk


@pytest.fixture
def pack(tmp_path):
    """`buffalo_l` with the checksums of two small files, and these files in a folder."""
    part = find_part("buffalo_l")
    files = {name: name.encode() for name in part.files}
    (tmp_path / "disk").mkdir()
    for name, data in files.items():
        (tmp_path / "disk" / name).write_bytes(data)
    sums = {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}
    faces = replace(part.config.faces, folder=tmp_path / "models" / "buffalo_l", sha256=sums)
    return replace(part, config=replace(part.config, faces=faces))


def test_a_face_pack_is_taken_from_its_files_or_archive(pack, tmp_path, said):
    take(tmp_path / "disk", pack, said)
    assert pack.on_disk
    shutil.rmtree(pack.folder)
    with zipfile.ZipFile(tmp_path / "buffalo_l.zip", "w") as archive:
        archive.writestr("../evil.txt", "x")
        for name in pack.files:
            archive.write(tmp_path / "disk" / name, f"buffalo_l/{name}")
    take(tmp_path, pack, said)
    assert sorted(p.name for p in pack.folder.iterdir()) == sorted(pack.files)
    assert (tmp_path / "buffalo_l.zip").is_file()
    assert not (tmp_path / "models" / "evil.txt").exists()


def test_a_damaged_face_pack_is_refused(pack, tmp_path, said):
    (tmp_path / "disk" / "det_10g.onnx").write_bytes(b"other")
    with pytest.raises(EnvironmentFault, match=r"det_10g\.onnx .* is damaged"):
        take(tmp_path / "disk", pack, said)
    assert not pack.on_disk
    (tmp_path / "disk" / "det_10g.onnx").unlink()
    (tmp_path / "disk" / "buffalo_l.zip").write_bytes(b"no archive")
    with pytest.raises(EnvironmentFault, match="is damaged"):
        take(tmp_path / "disk", pack, said)


def test_space_is_checked_before_copying(pack, tmp_path, said, monkeypatch):
    monkeypatch.setattr("engine.setup.fetch.free_gb", lambda folder: 0.1)
    with pytest.raises(EnvironmentFault, match=r"0\.1 GB are free"):
        take(tmp_path / "disk", pack, said)
