"""Find photos by a description: the ranking is open_clip's, and what was not scanned is said."""

import gc
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.session import Session, SessionOptions
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose
from engine.vision.cache import FeatureCache
from engine.vision.config import find_recogniser, list_recognisers
from engine.vision.photo_vectors import DamagedVectorsError, PhotoVectors, to_bfloat16
from engine.vision.regions import crop, grid_regions
from tests.tiny_open_clip import add_recogniser, make_open_clip

TEXT = "a dog in snow"
SCAN = ("--recogniser", "tiny", "--regions-only")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    return make_open_clip(tmp_path_factory.mktemp("open_clip") / "encoder")


@pytest.fixture
def tiny(tmp_path, encoder, monkeypatch) -> None:
    add_recogniser(tmp_path / "configs", encoder, monkeypatch)


@pytest.fixture
def album(tmp_path) -> Path:
    """Five drawn photos, one of them wide."""
    for k, kind in enumerate(("dog", "cat", "mug", "girl", "bear")):
        rng = np.random.default_rng(k)
        save_photo(
            compose(rng, (draw_individual(rng, kind),), place=("snow", "beach")[k % 2]),
            tmp_path / "album" / f"{kind}.jpg",
            width=320 if k == 2 else 240,
        )
    return tmp_path / "album"


@pytest.fixture
def scanned(myvlm, tiny, album):
    """The album, captioned and scanned with the tiny encoder."""
    for path in album.glob("*.jpg"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert myvlm("caption", album).code == 0
    assert myvlm("scan", album, *SCAN).code == 0
    return album


def names(result) -> list[str]:
    return [Path(line).name for line in result.out.splitlines()]


def likeness(result) -> dict[str, float]:
    return {Path(p["file"]).name: p["likeness"] for p in result.json["photos"]}


def by_open_clip(encoder: Path, photos: list[Path], text: str) -> dict[str, float]:
    """Similarities that open_clip itself computes, of the whole photos padded to squares."""
    import engine.core.device  # noqa: F401

    import open_clip
    import torch

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{encoder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{encoder}")([text])
    with torch.inference_mode():
        wanted = model.encode_text(tokens, normalize=True)
        scores = {}
        for path in photos:
            image = Image.open(path).convert("RGB")
            square = crop(image, grid_regions(*image.size)[0].box)
            scores[path.name] = float(model.encode_image(transform(square)[None], normalize=True)[0] @ wanted[0])
    return scores


def test_similarities_are_those_of_open_clip(myvlm, scanned, encoder):
    result = myvlm("search", "--like", TEXT, "--json", "--recogniser", "tiny")
    expected = by_open_clip(encoder, sorted(scanned.glob("*.jpg")), TEXT)
    assert likeness(result) == pytest.approx(expected, abs=2e-3)
    assert list(likeness(result)) == sorted(expected, key=lambda name: -expected[name])
    assert len({round(v, 3) for v in expected.values()}) == 5
    assert (result.json["not_scanned"], result.json["more"]) == (0, False)


def test_all_other_conditions_hold(myvlm, scanned):
    ranked = names(myvlm("search", "--like", TEXT, "--recogniser", "tiny"))
    assert names(myvlm("search", "--like", TEXT, "--recogniser", "tiny", "--limit", "2")) == ranked[:2]
    result = myvlm(
        "search", "--like", TEXT, "--recogniser", "tiny", "--limit", "2", "--html", scanned / "page.html", "--json"
    )
    assert [Path(p["file"]).name for p in result.json["photos"]] == ranked[:2]
    assert f"<h1>{TEXT}</h1>" in (scanned / "page.html").read_text()
    (scanned / "2024").mkdir()
    for name in ("dog.jpg", "mug.jpg"):
        for path in sorted(scanned.glob(f"{name}*")):
            path.rename(scanned / "2024" / path.name)
    assert myvlm("search", "--reindex", scanned).code == 0
    two = [name for name in ranked if name in ("dog.jpg", "mug.jpg")]
    assert names(myvlm("search", "--like", TEXT, "--recogniser", "tiny", "--in", scanned / "2024")) == two
    assert myvlm("search", "nowhere", "--like", TEXT, "--recogniser", "tiny").code == 1
    (scanned / "2024" / two[0]).unlink()
    result = myvlm("search", "--like", TEXT, "--recogniser", "tiny", "--in", scanned / "2024")
    assert names(result) == two[1:]
    assert "1 more is not there now" in result.err


def test_a_limit_holds_without_being_given(myvlm, scanned, monkeypatch):
    monkeypatch.setattr("engine.library.like.MOST", 3)
    result = myvlm("search", "--like", TEXT, "--recogniser", "tiny", "--json")
    assert (len(result.json["photos"]), result.json["more"]) == (3, True)
    assert "the 3 photos most like it" in result.err


def test_photos_that_were_not_scanned_are_counted(myvlm, tiny, album):
    result = myvlm("search", "--like", TEXT, "--recogniser", "tiny")
    assert (result.code, result.out) == (1, "")
    assert "--like finds photos that were scanned. Next: myvlm scan PATHS" in result.err
    assert myvlm("caption", album).code == 0
    result = myvlm("search", "--like", TEXT, "--recogniser", "tiny")
    assert (result.code, result.out) == (1, "")
    assert "5 photos were not scanned with tiny" in result.err
    assert "myvlm scan PATHS --recogniser tiny --regions-only" in result.err
    assert myvlm("scan", album, *SCAN, "--limit", "2").code == 0
    result = myvlm("search", "--like", TEXT, "--recogniser", "tiny", "--json")
    assert (len(result.json["photos"]), result.json["not_scanned"]) == (2, 3)


def test_photos_whose_sidecars_do_not_say_their_content_hash_are_ranked(myvlm, scanned):
    all_of_them = names(myvlm("search", "--like", TEXT, "--recogniser", "tiny"))
    for path in scanned.glob("*.myvlm.json"):
        path.unlink()
    for path in scanned.glob("*.jpg"):
        if not path.with_name(f"{path.name}.xmp").exists():
            path.with_name(f"{path.name}.xmp").write_text('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert myvlm("search", "--reindex", scanned).code == 0
    assert myvlm("scan", scanned, *SCAN).code == 0
    assert names(myvlm("search", "--like", TEXT, "--recogniser", "tiny")) == all_of_them


def test_photos_without_sidecars_are_ranked_where_nothing_else_is_asked_for(myvlm, tiny, album, tmp_path):
    for path in sorted(album.glob("*.jpg")):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert myvlm("scan", album, *SCAN).code == 0
    like = ("--like", TEXT, "--recogniser", "tiny")
    ranked = names(myvlm("search", *like))
    assert len(ranked) == 5
    assert myvlm("caption", album / "dog.jpg", album / "mug.jpg").code == 0
    assert names(myvlm("search", *like)) == ranked
    (tmp_path / "link").symlink_to(album)
    assert names(myvlm("search", *like, "--in", tmp_path / "link", "--not", "xyz")) == ranked
    assert names(myvlm("search", *like, "--in", tmp_path)) == ranked
    assert myvlm("search", *like, "--in", album / "dog.jpg").out == f"{album / 'dog.jpg'}\n"
    assert len(names(myvlm("search", *like, "--since", "1990"))) <= 2
    (album / "cat.jpg").rename(album / "moved.jpg")
    (album / "bear.jpg").write_bytes((album / "girl.jpg").read_bytes())
    assert names(myvlm("search", *like)) == [n for n in ranked if n not in ("cat.jpg", "bear.jpg")]


def test_photos_in_the_index_are_not_looked_for_one_by_one(myvlm, scanned, monkeypatch):
    monkeypatch.setattr("engine.library.candidates.real_path", lambda path: pytest.fail(str(path)))
    result = myvlm("search", "--like", TEXT, "--recogniser", "tiny")
    assert (result.code, len(names(result))) == (0, 5)


def test_a_repeated_search_loads_no_model(myvlm, scanned, monkeypatch):
    first = myvlm("search", "--like", TEXT, "--recogniser", "tiny", "--json")
    monkeypatch.setattr("engine.vision.text_encoder.TextEncoder.__init__", lambda *_: pytest.fail("it was loaded"))
    assert myvlm("search", "--like", TEXT, "--recogniser", "tiny", "--json").json == first.json
    assert TEXT.encode() not in b"".join(p.read_bytes() for p in Path(os.environ["MYVLM_HOME"]).rglob("vectors-*"))


def test_a_search_without_a_description_loads_no_numpy(scanned, home):
    code = (
        "import sys; sys.argv[1:] = ['search', '--in', sys.argv[1]]; from myvlm_cli.main import app\n"
        "code = app(standalone_mode=False)\nprint(code, 'numpy' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(scanned)], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 False"


@pytest.mark.parametrize("chosen", ["builtin", "storybook"])
def test_a_recogniser_that_reads_no_texts_is_refused(myvlm, empty_hub, album, home, chosen):
    (home / "config.toml").write_text(f'recogniser = "{chosen}"\n')
    for options in ((), ("--recogniser", chosen)):
        result = myvlm("search", "--like", TEXT, *options)
        assert (result.code, result.out) == (3, "")
        assert f"error: the recogniser {chosen} compares photos with photos, but not with descriptions" in result.err
        assert "Use dfn5b: myvlm models pull dfn5b, myvlm scan PATHS --recogniser dfn5b --regions-only" in result.err
        assert "myvlm config set recogniser dfn5b" in result.err


def test_weights_that_are_not_here_are_named(myvlm, empty_hub, scanned):
    db = sqlite3.connect(Path(os.environ["MYVLM_HOME"]) / "cache" / "features.db")
    copy = "insert into features select content_hash, ?, data from features where model like 'regions:tiny:%'"
    db.execute(copy, [find_recogniser("dfn5b").regions_id])
    db.commit()
    db.close()
    result = myvlm("search", "--like", TEXT, "--recogniser", "dfn5b")
    assert (result.code, result.out) == (3, "")
    assert "error: the weights of dfn5b are not on this disk" in result.err
    assert "myvlm models pull dfn5b" in result.err


def test_an_encoder_on_this_disk_is_used_unless_another_is_asked_for(myvlm, empty_hub, scanned):
    result = myvlm("search", "--like", TEXT)  # config.toml chooses the storybook's recogniser
    assert (result.code, len(names(result))) == (0, 5)
    assert myvlm("search", "--like", TEXT, "--recogniser", "storybook").code == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rex", "--recogniser", "tiny"], "--recogniser is for --like"),
        (["--like", "dog " * 80, "--recogniser", "tiny"], "longer than tiny reads"),
        (["--like", " "], "--like is empty"),
        (["--like", TEXT, "--recogniser", "nothing"], "no recogniser called 'nothing'"),
    ],
)
def test_what_cannot_be_searched_for_is_said(myvlm, scanned, arguments, told):
    result = myvlm("search", *arguments)
    assert result.code == 2
    assert told in result.err


def test_only_recognisers_that_see_the_whole_photo_read_texts():
    for config in list_recognisers():
        assert not (config.text_language and config.detector), config.name


# The matrix


def entry(rng: np.random.Generator, width: int = 8) -> dict[str, np.ndarray]:
    features = rng.standard_normal((3, width)).astype(np.float32)
    return {
        "boxes": np.zeros((3, 4), np.float32),
        "features": features / np.linalg.norm(features, axis=1, keepdims=True),
        "words": np.zeros(2, np.uint8),
    }


def positions(vectors: PhotoVectors) -> dict[str, int]:
    db = sqlite3.connect(":memory:")
    vectors.attach_to(db)
    return dict(db.execute("select content_hash, position from vectors.photos"))


def scores(vectors: PhotoVectors, query: np.ndarray) -> dict[str, float]:
    known = positions(vectors)
    values = vectors.likeness(np.array(list(known.values()), np.int64), query)
    return dict(zip(known, values.tolist(), strict=True))


def test_the_matrix_follows_the_cache(home, monkeypatch):
    monkeypatch.setattr("engine.vision.photo_vectors._COPIED", 4)
    monkeypatch.setattr("engine.vision.photo_vectors._BLOCK", 3)
    rng = np.random.default_rng(0)
    entries = {f"hash{k}": entry(rng) for k in range(30)}
    query = entries["hash3"]["features"][0]
    expected = {h: float(e["features"][0] @ query) for h, e in entries.items()}
    cache, vectors = FeatureCache(home / "cache"), PhotoVectors(home / "cache", ("exact", "reduced"))
    vectors.update(cache)
    assert not vectors.path.exists()
    items = list(entries.items())
    cache.save("exact", items[:10])
    cache.save("other", [("hashx", entry(rng))])
    copied = []
    vectors.update(cache, copied.append)
    assert copied == [4, 4, 2]
    cache.save("reduced", items[10:])
    cache.save("exact", items[10:12])  # known already
    vectors.update(cache)
    assert scores(vectors, query) == pytest.approx(expected, abs=3e-3)
    vectors.update(cache, lambda n: pytest.fail("nothing is new"))
    both = vectors.likeness(np.array([29, 0, 29], np.int64), query)
    assert both[0] == pytest.approx(both[2], abs=1e-6)


def test_a_matrix_that_lost_a_file_is_made_anew(home):
    rng = np.random.default_rng(1)
    cache, vectors = FeatureCache(home / "cache"), PhotoVectors(home / "cache", ("exact",))
    entries = {f"hash{k}": entry(rng) for k in range(5)}
    cache.save("exact", entries.items())
    vectors.update(cache)
    query = entries["hash0"]["features"][0]
    before = scores(vectors, query)
    for lost in (vectors.path.with_suffix(".bf16"), vectors.path):
        vectors.close()
        lost.unlink()
        vectors.update(cache)
        assert scores(vectors, query) == before
    vectors.close()
    vectors.path.write_bytes(b"no database at all")
    vectors.update(cache)
    assert scores(vectors, query) == before


def damage(path: Path, start: int) -> None:
    """Overwrite a file from a byte on, with what no database holds."""
    gc.collect()  # connections of earlier commands
    data = path.read_bytes()
    assert len(data) > start
    path.write_bytes(data[:start] + b"\xff" * (len(data) - start))


def test_a_database_of_vectors_that_is_damaged_inside_is_made_anew(home):
    rng = np.random.default_rng(4)
    cache, vectors = FeatureCache(home / "cache"), PhotoVectors(home / "cache", ("exact",))
    cache.save("exact", [(f"hash{k:060}", entry(rng)) for k in range(500)])
    vectors.update(cache)
    vectors.keep_text("a", np.ones(8, np.float32))
    vectors.close()
    damage(vectors.path, 4096)
    with pytest.raises(DamagedVectorsError, match="was damaged"):
        vectors.text("a")
    assert vectors.text("a") is None
    vectors.update(cache)
    vectors.close()
    damage(vectors.path, 4096)
    cache.save("exact", [("new", entry(rng))])
    vectors.update(cache)
    assert len(positions(vectors)) == 501
    vectors.keep_text("a", np.ones(8, np.float32))
    os.truncate(vectors.path.with_suffix(".bf16"), 100)
    with pytest.raises(DamagedVectorsError, match=r"bf16 was damaged"):
        vectors.likeness(np.arange(501), np.ones(8, np.float32))
    assert not vectors.path.exists()


@pytest.mark.parametrize("start", [100, 4096])
@pytest.mark.parametrize("name", ["vectors-*.db", "contents.db"])
def test_a_search_goes_on_after_damage(myvlm, scanned, home, name, start):
    like = ("search", "--like", TEXT, "--recogniser", "tiny", "--json")
    before = myvlm(*like)
    [path] = (home / "cache").glob(name)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    damage(path, start)
    result = myvlm(*like)
    assert (result.code, result.json) == (0, before.json), result.err


def test_a_damaged_index_is_not_taken_for_damaged_vectors(myvlm, scanned, home):
    like = ("search", "--like", TEXT, "--recogniser", "tiny")
    assert myvlm(*like).code == 0
    damage(home / "library.db", 4096)
    result = myvlm(*like)
    assert result.code == 3
    assert "the search index" in result.err
    assert "myvlm search --reindex FOLDER" in result.err
    assert myvlm("search", "--reindex", scanned).code == 0
    assert len(names(myvlm(*like))) == 5


def test_a_cache_that_was_made_anew_is_read_again(home):
    rng = np.random.default_rng(2)
    cache, vectors = FeatureCache(home / "cache"), PhotoVectors(home / "cache", ("exact",))
    cache.save("exact", [(f"old{k}", entry(rng)) for k in range(3)])
    vectors.update(cache)
    for path in (home / "cache").glob("features.db*"):
        path.unlink()
    cache = FeatureCache(home / "cache")
    cache.save("exact", [(f"new{k}", entry(rng)) for k in range(4)])
    vectors.update(cache)
    assert set(positions(vectors)) == {"old0", "old1", "old2", "new0", "new1", "new2", "new3"}


def test_clearing_the_cache_deletes_the_matrix(myvlm, scanned):
    cache = Path(os.environ["MYVLM_HOME"]) / "cache"
    assert myvlm("search", "--like", TEXT, "--recogniser", "tiny").code == 0
    kept = sorted(cache.glob("vectors-*"))
    assert kept
    assert all(p.stat().st_mode & 0o077 == 0 for p in kept)
    assert myvlm("concepts", "clear-cache").code == 0
    assert not sorted(cache.glob("vectors-*"))


def test_numbers_are_rounded_to_bfloat16_as_torch_rounds_them():
    import engine.core.device  # noqa: F401

    import torch

    values = np.random.default_rng(3).standard_normal((100, 7)).astype(np.float32)
    rounded = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    assert (to_bfloat16(values) == rounded).all()


def test_features_are_those_that_scans_store(myvlm, scanned):
    """The first region of a photo is the whole photo, for every recogniser that reads texts."""
    session = Session(SessionOptions(recogniser="tiny"))
    record = json.loads((scanned / "dog.jpg.myvlm.json").read_text())
    regions = session.extractor.cached_regions(record["photo"]["content_hash"])
    assert regions.regions[0].source == "photo"
