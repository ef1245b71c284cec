"""Fetching from a hub on this machine, with the real client: what is told, checked, resumed and refused."""

import json
import shutil

import pytest
from safetensors.numpy import save

from engine.core.errors import EnvironmentFault, UsageError
from engine.setup import machine
from engine.setup.fetch import fetch_part, find_pullable
from engine.setup.hub import UnreachableError, read_repository
from engine.setup.verify import check_headers
from engine.vlms.find import find_config
from engine.vlms.registry import find_weights
from tests.setup.hub_server import COMMIT

REPO = "llava-hf/llava-v1.6-vicuna-7b-hf"
OTHER = "someone/blip2-like"


def weights(seed=0, size=30_000):
    import numpy as np

    return save({"w": np.random.default_rng(seed).random(size, np.float32)})


def llava(**changes):
    shards = {f"model-0000{i}-of-00002.safetensors": weights(i) for i in (1, 2)}
    index = {"weight_map": {f"w{i}": name for i, name in enumerate(shards)}}
    files = {
        "config.json": json.dumps({"model_type": "llava_next"}).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "README.md": b"# card",
        "pytorch_model.bin": b"not used" * 1000,
        **shards,
    }
    return files | changes


@pytest.fixture
def hub_with_llava(hub):
    hub.repos[REPO] = llava()
    hub.cards[REPO] = {"license": "llama2"}
    return hub


def test_a_pulled_vlm_is_found_afterwards(hub_with_llava, said, cache):
    """The repository has files that are not fetched; huggingface_hub 2 takes such a snapshot for incomplete."""
    config = find_config("llava-1.6")
    assert find_weights(config) is None
    folder = fetch_part(find_pullable("llava-1.6"), said)
    assert find_weights(config) == folder
    assert folder == cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
    assert "pytorch_model.bin" not in hub_with_llava.fetched()
    assert {p.name for p in folder.iterdir()} == set(llava()) - {"README.md", "pytorch_model.bin"}
    check_headers(config)


def test_family_size_and_licence_are_told_before_anything_large_is_fetched(hub, said):
    hub.repos[OTHER] = llava(**{"config.json": b'{"model_type": "blip-2", "text_config": {"model_type": "t5"}}'})
    hub.cards[OTHER] = {"license": "other", "license_name": "some-terms"}
    seen = []
    fetch_part(find_pullable(OTHER), lambda line: seen.append((line, list(hub.fetched()))))
    line, fetched = seen[0]
    size = sum(len(d) for n, d in hub.repos[OTHER].items() if n not in ("README.md", "pytorch_model.bin"))
    assert line == f"{OTHER}: BLIP-2, {size / 1e6:.1f} MB, licence: some-terms"
    assert fetched == ["config.json"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"config.json": b'{"model_type": "qwen3"}'}, "'qwen3' is a text model"),
        ({"config.json": b'{"model_type": "moondream1"}'}, "Moondream needs code from its repository"),
        ({"config.json": b'{"model_type": "blip-2", "text_config": {"model_type": "opt"}}'}, "'opt'; only T5"),
        ({"config.json": b"{}"}, "does not say which kind of model"),
    ],
)
def test_what_myvlm_cannot_use_is_refused(hub, said, cache, files, told):
    hub.repos[OTHER] = llava(**files)
    with pytest.raises((UsageError, EnvironmentFault), match=told):
        fetch_part(find_pullable(OTHER), said)
    assert hub.fetched() == ["config.json"]
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.parametrize(("name", "told"), [("config.json", "no config.json"), (".safetensors", "no safetensors")])
def test_a_repository_without_a_checkpoint_is_refused(hub, said, name, told):
    hub.repos[OTHER] = {n: d for n, d in llava().items() if not n.endswith(name)}
    with pytest.raises(UsageError, match=told):
        fetch_part(find_pullable(OTHER), said)


def test_an_unknown_repository_is_a_wrong_name(hub, said):
    with pytest.raises(UsageError, match="no public repository nobody/nothing"):
        fetch_part(find_pullable("nobody/nothing"), said)


def test_a_licence_that_the_card_does_not_state_is_not_made_up(hub):
    hub.repos[OTHER] = llava()
    assert read_repository(OTHER).license == "see the model's own card"
    assert find_config(OTHER).license == "see the model's own card"


def test_a_broken_connection_is_resumed_in_the_file(hub_with_llava, said, monkeypatch):
    name = "model-00001-of-00002.safetensors"
    hub_with_llava.breaks[name] = 50_000
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    folder = fetch_part(find_pullable("llava-1.6"), said)
    assert hub_with_llava.ranges == ["bytes=50000-"]
    assert (folder / name).read_bytes() == hub_with_llava.repos[REPO][name]


def test_files_that_are_there_are_not_fetched_again(hub_with_llava, said):
    folder = fetch_part(find_pullable("llava-1.6"), said)
    lost = folder / "model-00002-of-00002.safetensors"
    lost.resolve().unlink()
    lost.unlink()
    hub_with_llava.requests.clear()
    fetch_part(find_pullable("llava-1.6"), said)
    assert hub_with_llava.fetched() == [lost.name]


def test_a_file_with_another_checksum_is_deleted_and_told(hub_with_llava, said):
    name = "model-00002-of-00002.safetensors"
    hub_with_llava.wrong_sums.add(name)
    with pytest.raises(EnvironmentFault, match=f"{name} is damaged") as caught:
        fetch_part(find_pullable("llava-1.6"), said)
    assert "again" in caught.value.hint
    hub_with_llava.wrong_sums.clear()
    folder = fetch_part(find_pullable("llava-1.6"), said)
    assert (folder / name).read_bytes() == hub_with_llava.repos[REPO][name]


def test_free_space_is_checked_before_anything_large_is_fetched(hub_with_llava, said, monkeypatch):
    name = "model-00001-of-00002.safetensors"
    hub_with_llava.sizes[name] = 14_000_000_000
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 5_000_000_000))
    with pytest.raises(EnvironmentFault, match=r"needs 14\.0 GB, and 5\.0 GB are free") as caught:
        fetch_part(find_pullable("llava-1.6"), said)
    assert "Free 9.5 GB" in caught.value.hint
    assert hub_with_llava.fetched() == ["config.json"]


def test_a_disk_that_gets_full_is_told(hub_with_llava, said, monkeypatch):
    import huggingface_hub

    def full(*args, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(EnvironmentFault, match=r"the disk is full while llava-1\.6"):
        fetch_part(find_pullable("llava-1.6"), said)


def test_without_a_network_the_files_to_copy_are_told(hub, said, cache, monkeypatch):
    hub.repos.clear()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="could not be fetched") as caught:
        fetch_part(find_pullable("llava-1.6"), said)
    assert f"models--{REPO.replace('/', '--')} to {cache}" in caught.value.hint


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_model.safetensors"])
def test_the_encoder_is_the_one_file_that_open_clip_takes(hub, said, name):
    repo = "apple/DFN5B-CLIP-ViT-H-14-378"
    hub.repos[repo] = {name: weights(), "pytorch_model.bin": b"another", "config.json": b"{}"}
    part = find_pullable("dfn5b")
    assert not part.on_disk
    path = fetch_part(part, said)
    assert path.name == name
    assert part.on_disk
    assert hub.fetched() == [name]
    assert "Apple" in said[0]


def test_what_needs_no_fetching_or_a_conversion_is_refused(said, tmp_path):
    with pytest.raises(UsageError, match="needs no fetching"):
        find_pullable("storybook")
    with pytest.raises(UsageError, match="as a whole") as caught:
        fetch_part(find_pullable("minigpt-v2"), said)
    assert "myvlm models convert minigpt-v2 --vit" in caught.value.hint


# face packs


@pytest.fixture
def pack(hub, tmp_path, monkeypatch):
    """The storybook's face pack under the name of buffalo_l, at the place where insightface downloads from."""
    import hashlib
    import io
    import zipfile
    from dataclasses import replace

    from insightface.utils import storage

    from engine.core.paths import STORYBOOK
    from engine.setup.parts import find_part

    part = find_part("buffalo_l")
    files = {
        "det_10g.onnx": (STORYBOOK / "faces" / "det_storybook.onnx").read_bytes(),
        "w600k_r50.onnx": (STORYBOOK / "faces" / "rec_storybook.onnx").read_bytes(),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    hub.files["/zoo/buffalo_l.zip"] = buffer.getvalue()
    monkeypatch.setattr(storage, "MODEL_ZOO_RELEASE_DOWNLOAD_URL", f"{hub.url}/zoo/")
    sums = {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}
    faces = replace(part.config.faces, folder=tmp_path / "insightface" / "models" / "buffalo_l", sha256=sums)
    return replace(part, config=replace(part.config, faces=faces))


def test_a_face_pack_is_fetched_by_insightface_and_loads(pack, said, capsys):
    from engine.setup.machine import Machine
    from engine.setup.verify import verify_part

    folder = fetch_part(pack, said)
    assert sorted(p.name for p in folder.iterdir()) == ["det_10g.onnx", "w600k_r50.onnx"]
    assert [p.name for p in folder.parent.iterdir()] == ["buffalo_l"]
    assert pack.on_disk
    assert capsys.readouterr().out == ""
    assert "non-commercial" in said[0]
    assert verify_part(pack, Machine("Linux", "x86_64", 2, 8.0, 50.0)) == "it was loaded"


def test_a_damaged_face_pack_is_not_taken_for_one(pack, said, hub):
    hub.files["/zoo/buffalo_l.zip"] = hub.files["/zoo/buffalo_l.zip"][:-300]
    with pytest.raises(UnreachableError, match="buffalo_l could not be fetched") as caught:
        fetch_part(pack, said)
    assert "copy det_10g.onnx and w600k_r50.onnx" in caught.value.hint
    assert not pack.on_disk


def test_a_face_pack_with_other_files_is_deleted(pack, said, monkeypatch):
    pack.config.faces.sha256["w600k_r50.onnx"] = "0" * 64
    with pytest.raises(EnvironmentFault, match=r"w600k_r50\.onnx is damaged"):
        fetch_part(pack, said)
    assert not pack.on_disk


def test_half_a_face_pack_is_none(pack):
    pack.config.faces.folder.mkdir(parents=True)
    (pack.config.faces.folder / "det_10g.onnx").touch()
    assert not pack.on_disk
