"""What sidecars are called: other programs' habits, who owns a bare photo.xmp, names of all kinds."""

import os
import time
import unicodedata
from pathlib import Path

import pytest

from engine.core.errors import AmbiguousSidecarsError, SidecarError
from engine.sidecars import locate
from engine.sidecars.locate import Namer, Naming, mirrored

PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"


def find_sidecars(photo, options=None):
    return Namer(options).find(photo)


def xmp_for(ending):
    said = f' xmlns:p="{PHOTOSHOP}" p:SidecarForExtension="{ending}"' if ending else ""
    rdf = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}<rdf:Description rdf:about=""{said}/></rdf:RDF></x:xmpmeta>'


def fill(folder, *names):
    """Files by name; `a.xmp=CR2` is a sidecar that says it is for a CR2."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        name, _, ending = name.partition("=")
        (folder / name).write_text(xmp_for(ending) if name.lower().endswith(".xmp") else "x")


NFC, NFD = "caf\xe9.jpg", "cafe\u0301.jpg"
# photo, what else is there: the sidecar with auto, ext, stem; * where there is something to say, ! where several may be
TABLE = [
    ("a.jpg", (), "a.jpg.xmp", "a.jpg.xmp", "a.xmp"),
    ("a.jpg", ("a.jpg.xmp",), "a.jpg.xmp", "a.jpg.xmp", "a.xmp"),
    ("a.jpg", ("a.xmp",), "a.xmp", "a.jpg.xmp", "a.xmp"),
    ("a.jpg", ("a.xmp", "a.jpg.xmp"), "a.jpg.xmp*", "a.jpg.xmp*", "a.xmp"),
    ("a.jpg", ("a.XMP",), "a.XMP", "a.jpg.xmp", "a.XMP"),
    ("a.jpg", ("a.jpg.XMP",), "a.jpg.XMP", "a.jpg.XMP", "a.xmp"),
    ("a.jpg", ("a.jpg.XMP", "a.jpg.xmp"), "!", "!", "!"),
    ("a.JPG", ("a.Xmp",), "a.Xmp", "a.JPG.xmp", "a.Xmp"),
    # raw files
    ("a.cr2", (), "a.cr2.xmp", "a.cr2.xmp", "a.xmp"),
    ("a.CR2", ("a.xmp",), "a.xmp", "a.CR2.xmp", "a.xmp"),
    ("a.cr2", ("a.jpg", "a.xmp"), "a.xmp", "a.cr2.xmp", "a.xmp"),
    ("a.jpg", ("a.cr2", "a.xmp"), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    ("a.jpg", ("a.cr2",), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    ("a.cr2", ("a.dng", "a.xmp"), "a.cr2.xmp", "a.cr2.xmp", "a.cr2.xmp*"),
    ("a.dng", ("a.cr2", "a.xmp=DNG"), "a.xmp", "a.dng.xmp", "a.xmp"),
    # what the sidecar says of itself
    ("a.jpg", ("a.xmp=JPG",), "a.xmp", "a.jpg.xmp", "a.xmp"),
    ("a.jpg", ("a.cr2", "a.xmp=jpg"), "a.xmp", "a.jpg.xmp", "a.xmp"),
    ("a.cr2", ("a.jpg", "a.xmp=jpg"), "a.cr2.xmp", "a.cr2.xmp", "a.cr2.xmp*"),
    ("a.jpg", ("a.xmp=NEF",), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),  # the raw file lies elsewhere
    # two photos, a Live Photo, a video's own sidecar
    ("a.jpg", ("a.png", "a.xmp"), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    ("a.jpg", ("a.png",), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    ("a.heic", ("a.mov", "a.xmp"), "a.xmp", "a.heic.xmp", "a.xmp"),
    ("a.heic", ("a.MOV",), "a.heic.xmp", "a.heic.xmp", "a.xmp"),
    ("a.jpg", ("a.mp4", "a.xmp=MP4"), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    ("a.jpg", ("a.txt", "a.jpg.json", "b.xmp", "a (1).jpg", "a.aae", ".a.png"), "a.jpg.xmp", "a.jpg.xmp", "a.xmp"),
    # files that are no photos to us, but have sidecars with other programs
    *(
        ("a.jpg", (f"a.{e}", "a.xmp"), *["a.jpg.xmp"] * 2, "a.jpg.xmp*")
        for e in "psd PSB jxl bmp jp2 pdf avi wav".split()
    ),
    ("a.jpg", ("a", "a.xmp"), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    ("a.png", ("a.mov", "a.xmp"), "a.png.xmp", "a.png.xmp", "a.png.xmp*"),
    ("a.jpg", ("A.NEF", "a.xmp"), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    ("a.nef", ("A.JPG", "a.psd", "a.MOV", "a.xmp"), "a.xmp", "a.nef.xmp", "a.xmp"),
    ("a.nef", ("A.bmp", "a.xmp"), "a.nef.xmp", "a.nef.xmp", "a.nef.xmp*"),
    ("a.jpg", ("A.jpg", "a.xmp"), "a.jpg.xmp", "a.jpg.xmp", "a.jpg.xmp*"),
    (
        "a.jpg",
        ("a.jpg_original", "a.xmp_original", "a.jpg~", "a.AAE", "a.json", "a.xmp"),
        "a.xmp",
        "a.jpg.xmp",
        "a.xmp",
    ),
    # a photo without an ending has one name only
    ("a", (), "a.xmp", "a.xmp", "a.xmp"),
    ("a", ("a.xmp",), "a.xmp", "a.xmp", "a.xmp"),
    ("a.b.jpg", ("a.b.xmp",), "a.b.xmp", "a.b.jpg.xmp", "a.b.xmp"),
    # letter case
    ("A.JPG", ("A.jpg.xmp",), "A.jpg.xmp", "A.jpg.xmp", "A.xmp"),
    ("A.JPG", ("a.jpg.XMP",), "a.jpg.XMP", "a.jpg.XMP", "A.xmp"),
    ("A.JPG", ("a.xmp",), "a.xmp", "A.JPG.xmp", "a.xmp"),
    ("A.JPG", ("a.xmp", "a.jpg.xmp"), "a.jpg.xmp*", "a.jpg.xmp*", "a.xmp"),
    ("A.JPG", ("A.JPG.xmp", "A.jpg.xmp"), "!", "!", "!"),
    ("A.JPG", ("A.xmp", "a.xmp"), "!", "!", "!"),
    ("A.JPG", ("A.JPG.xmp", "A.xmp", "a.xmp"), "A.JPG.xmp*", "A.JPG.xmp*", "!"),
    ("A.CR2", ("a.xmp=CR2", "A.xmp=DNG", "A.DNG"), "a.xmp", "A.CR2.xmp", "a.xmp"),
    # of two photos whose names differ in case, each has its own; one that is neither's by name may be either's
    ("A.JPG", ("A.jpg", "A.jpg.xmp"), "A.JPG.xmp", "A.JPG.xmp", "A.JPG.xmp*"),
    ("A.jpg", ("A.JPG", "A.jpg.xmp"), "A.jpg.xmp", "A.jpg.xmp", "A.jpg.xmp*"),
    ("A.jpg", ("A.JPG", "A.JPG.xmp", "A.jpg.xmp"), "A.jpg.xmp", "A.jpg.xmp", "A.jpg.xmp*"),
    ("A.jpg", ("A.JPG", "a.jpg.xmp"), "!", "!", "!"),
    ("Straße.jpg", ("Strasse.jpg", "Strasse.jpg.xmp"), "Straße.jpg.xmp", "Straße.jpg.xmp", "Straße.jpg.xmp*"),
    ("A.jpg", ("a", "A.xmp"), "A.jpg.xmp", "A.jpg.xmp", "A.jpg.xmp*"),
    # Unicode form
    (NFC, (f"{NFD}.xmp",), f"{NFD}.xmp", f"{NFD}.xmp", "caf\xe9.xmp"),
    (NFD, (f"{NFC}.xmp",), f"{NFC}.xmp", f"{NFC}.xmp", "cafe\u0301.xmp"),
    (NFC, ("cafe\u0301.xmp",), "cafe\u0301.xmp", f"{NFC}.xmp", "cafe\u0301.xmp"),
    (NFC, ("CAFE\u0301.JPG.XMP",), "CAFE\u0301.JPG.XMP", "CAFE\u0301.JPG.XMP", "caf\xe9.xmp"),
    (NFC, ("cafe\u0301.nef", "caf\xe9.xmp"), f"{NFC}.xmp", f"{NFC}.xmp", f"{NFC}.xmp*"),
    (NFC, (f"{NFC}.xmp", f"{NFD}.xmp"), "!", "!", "!"),
    (NFC, (NFD, f"{NFD}.xmp"), f"{NFC}.xmp", f"{NFC}.xmp", f"{NFC}.xmp*"),
]


@pytest.mark.parametrize(("photo", "there", "auto", "ext", "stem"), TABLE)
def test_names(tmp_path, photo, there, auto, ext, stem):
    fill(tmp_path, photo, *there)
    for style, expected in (("auto", auto), ("ext", ext), ("stem", stem)):
        if expected == "!":
            with pytest.raises(AmbiguousSidecarsError) as caught:
                find_sidecars(tmp_path / photo, Naming(style))
            assert {p.name for p in caught.value.paths} <= set(there)
            continue
        found = find_sidecars(tmp_path / photo, Naming(style))
        assert found.xmp == tmp_path / expected.rstrip("*"), style
        assert bool(found.notes) == expected.endswith("*"), (style, found.notes)
        assert found.json == tmp_path / f"{photo}.myvlm.json"


def test_another_name_starts_from_what_is_there(tmp_path):
    fill(tmp_path, "a.jpg", "a.xmp", "b.jpg", "b.jpg.xmp", "c.jpg", "c.xmp", "c.jpg.xmp")
    assert find_sidecars(tmp_path / "a.jpg", Naming("ext")).source == tmp_path / "a.xmp"
    assert find_sidecars(tmp_path / "b.jpg", Naming("stem")).source == tmp_path / "b.jpg.xmp"
    for style in ("auto", "ext", "stem"):
        assert find_sidecars(tmp_path / "c.jpg", Naming(style)).source is None
    assert find_sidecars(tmp_path / "a.jpg").source is None


def test_a_damaged_bare_sidecar_is_the_photos_when_nothing_else_can_be(tmp_path):
    fill(tmp_path, "a.jpg", "b.jpg", "b.png")
    for name in "ab":
        (tmp_path / f"{name}.xmp").write_bytes(b"<not xmp")
    assert find_sidecars(tmp_path / "a.jpg").xmp.name == "a.xmp"  # and the merge will say what is wrong with it
    assert find_sidecars(tmp_path / "b.jpg").xmp.name == "b.jpg.xmp"


def test_a_folder_of_their_own_mirrors_the_library(tmp_path, monkeypatch):
    library, base = tmp_path / "library", tmp_path / "sidecars"
    fill(library, "a.jpg", "a.xmp", "b.jpg", "c.jpg", "c.jpg.xmp")
    below = base / os.path.relpath(library, "/")
    names = Namer(Naming(folder=base))
    assert names.find(library / "a.jpg") == locate.SidecarPaths(
        below / "a.jpg.xmp", below / "a.jpg.myvlm.json", library / "a.xmp", make_folder=True
    )
    assert names.find(library / "b.jpg").source is None
    assert names.find(library / "c.jpg").source == library / "c.jpg.xmp"
    monkeypatch.chdir(library)
    assert Namer(Naming(folder=base)).find(Path("a.jpg")).xmp == below / "a.jpg.xmp"
    assert Namer(Naming(folder=base)).find(Path("../library/a.jpg")).xmp == below / "a.jpg.xmp"
    (tmp_path / "link").symlink_to(library)
    assert Namer(Naming(folder=base)).find(tmp_path / "link" / "a.jpg").xmp == below / "a.jpg.xmp"
    assert not base.exists()
    fill(below, "b.xmp")
    assert Namer(Naming(folder=base)).find(library / "b.jpg").xmp == below / "b.xmp"
    assert Namer(Naming("stem", base)).find(library / "a.jpg").xmp == below / "a.xmp"


def test_mirrors_never_leave_their_folder(tmp_path):
    for folder in ("/", "/a/../../b", "relative/../../x", "."):
        assert mirrored(Path(folder), tmp_path).resolve().is_relative_to(tmp_path)


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    listed = []
    real = os.listdir
    monkeypatch.setattr(locate.os, "listdir", lambda folder: listed.append(folder) or real(folder))
    names = Namer()
    for folder in ("one", "two"):
        fill(tmp_path / folder, *(f"{k}.jpg" for k in range(50)), *(f"{k}.xmp" for k in range(0, 50, 7)))
        for k in range(50):
            names.find(tmp_path / folder / f"{k}.jpg")
    assert listed == [tmp_path / "one", tmp_path / "two"]
    for k in range(40):
        names.find(tmp_path / f"empty{k}" / "a.jpg")
    assert len(names._listings) <= 16


def test_names_that_are_not_utf8(tmp_path):
    photo = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    photo.write_bytes(b"x")
    (tmp_path / os.fsdecode(b"caf\xe9.xmp")).write_text(xmp_for(""))
    found = find_sidecars(photo)
    assert os.fsencode(found.xmp.name) == b"caf\xe9.xmp"
    assert os.fsencode(found.json.name) == b"caf\xe9.jpg.myvlm.json"
    assert os.fsencode(find_sidecars(photo, Naming(folder=tmp_path / "s")).xmp.name) == b"caf\xe9.jpg.xmp"


def test_a_name_too_long_for_its_sidecars_is_an_error_that_says_so(tmp_path):
    longest = "ü" * 119 + "x.jpg"  # 243 bytes
    assert find_sidecars(tmp_path / longest).json.name.endswith(".myvlm.json")
    find_sidecars(tmp_path / ("y" + longest)).json.write_text("it fits")
    with pytest.raises(SidecarError, match="1 bytes too long") as caught:
        find_sidecars(tmp_path / ("yy" + longest))
    assert "shorter name" in caught.value.hint


def test_a_missing_folder_is_no_error(tmp_path):
    assert find_sidecars(tmp_path / "no" / "a.jpg").xmp == tmp_path / "no" / "a.jpg.xmp"


def link(folder, name, target):
    folder.mkdir(exist_ok=True)
    (folder / name).symlink_to(target)
    return folder / name


@pytest.mark.parametrize("base", [None, "sidecars"])
def test_a_link_to_a_photo_has_the_photos_sidecars(tmp_path, base):
    options = Naming(folder=base and tmp_path / base)
    real = tmp_path / "2020" / "rex.jpg"
    fill(real.parent, "rex.jpg", "rex.xmp", "milo.jpg")
    best = link(tmp_path / "00-best", "rex.jpg", "../2020/rex.jpg")
    assert find_sidecars(best, options) == find_sidecars(real, options)
    assert (find_sidecars(best, options).source or find_sidecars(best, options).xmp) == real.with_name("rex.xmp")
    milo = link(best.parent, "milo.jpg", real.with_name("milo.jpg"))
    assert find_sidecars(milo, options) == find_sidecars(real.with_name("milo.jpg"), options), "there is none yet"


@pytest.mark.parametrize("there", ["rex.jpg.xmp", "rex.xmp", "rex.jpg.myvlm.json"])
def test_a_sidecar_beside_the_link_is_kept_up_to_date(tmp_path, there):
    fill(tmp_path / "2020", "rex.jpg", "rex.jpg.xmp")
    best = link(tmp_path / "00-best", "rex.jpg", "../2020/rex.jpg")
    fill(best.parent, there)
    found = find_sidecars(best)
    assert best.with_name(there) in (found.xmp, found.json)
    for style in ("ext", "stem"):
        assert find_sidecars(best, Naming(style)).json.parent == best.parent


def test_objects_of_an_annex_and_broken_links_keep_their_sidecars_beside_the_link(tmp_path):
    fill(tmp_path / "objects", "SHA256-12.jpg")
    fill(tmp_path / "objects", "gone.jpg")
    rex = link(tmp_path / "library", "rex.jpg", "../objects/SHA256-12.jpg")
    gone = link(rex.parent, "gone.jpg", "../nowhere/gone.jpg")
    loop = link(rex.parent, "loop.jpg", "loop.jpg")
    for path in (rex, gone, loop):
        assert find_sidecars(path).xmp == path.with_name(path.name + ".xmp")


def test_a_linked_folder_is_the_folder(tmp_path):
    fill(tmp_path / "library", "a.jpg")
    (tmp_path / "link").symlink_to("library")
    assert find_sidecars(tmp_path / "link" / "a.jpg").xmp.resolve() == tmp_path / "library" / "a.jpg.xmp"


def test_hard_links_have_sidecars_of_their_own(tmp_path):
    fill(tmp_path / "a", "1.jpg", "1.jpg.xmp")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.jpg").hardlink_to(tmp_path / "a" / "1.jpg")
    assert find_sidecars(tmp_path / "b" / "1.jpg").xmp == tmp_path / "b" / "1.jpg.xmp"


def test_folders_are_made_below_a_sidecar_folder_only(tmp_path):
    fill(tmp_path, "a.jpg")
    assert not find_sidecars(tmp_path / "a.jpg").make_folder
    assert find_sidecars(tmp_path / "a.jpg", Naming(folder=tmp_path / "s")).make_folder


def test_twins_are_told_so_that_they_can_be_told_apart(tmp_path):
    fill(tmp_path, NFC, f"{NFC}.xmp", f"{NFD}.xmp", "B.JPG", "B.JPG.xmp", "b.jpg.xmp")
    with pytest.raises(AmbiguousSidecarsError) as caught:
        find_sidecars(tmp_path / NFC)
    assert "'caf\\xe9.jpg.xmp' and 'cafe\\u0301.jpg.xmp' differ in Unicode form only" in str(caught.value)
    with pytest.raises(AmbiguousSidecarsError, match=r"B.JPG.xmp and b.jpg.xmp differ in letter case only"):
        find_sidecars(tmp_path / "B.JPG")


JSON_TABLE = [
    ("A.JPG", ("A.jpg.myvlm.json",), "A.jpg.myvlm.json"),
    (NFC, (f"{NFD}.myvlm.json",), f"{NFD}.myvlm.json"),
    (NFD, (f"{NFC}.MYVLM.JSON",), f"{NFC}.MYVLM.JSON"),
    ("A.JPG", ("A.jpg", "A.jpg.myvlm.json"), "A.JPG.myvlm.json"),
    ("A.JPG", ("A.JPG.myvlm.json", "A.jpg.myvlm.json"), None),
    ("A.JPG", ("A.jpg", "a.jpg.myvlm.json"), None),
]


@pytest.mark.parametrize(("photo", "there", "expected"), JSON_TABLE)
@pytest.mark.parametrize("base", [None, "sidecars"])
def test_json_sidecars_are_found_alike(tmp_path, photo, there, expected, base):
    fill(tmp_path / "library", photo, *(n for n in there if n.lower().endswith("jpg")))
    folder = mirrored(tmp_path / "library", tmp_path / base) if base else tmp_path / "library"
    fill(folder, *(n for n in there if n.lower().endswith("json")))
    options = Naming(folder=base and tmp_path / base)
    if expected:
        assert find_sidecars(tmp_path / "library" / photo, options).json == folder / expected
    else:
        with pytest.raises(AmbiguousSidecarsError):
            find_sidecars(tmp_path / "library" / photo, options)


def test_a_photo_named_in_another_spelling_has_the_sidecars_of_the_file(tmp_path):
    """On a disk that ignores case, img_1.jpg opens IMG_1.JPG."""
    fill(tmp_path, "IMG_1.JPG", "IMG_1.xmp", NFD, f"{NFD}.myvlm.json")
    assert find_sidecars(tmp_path / "img_1.jpg").xmp == tmp_path / "IMG_1.xmp"
    assert find_sidecars(tmp_path / NFC) == find_sidecars(tmp_path / NFD)


def test_folders_of_sidecars_are_found_whatever_their_spelling(tmp_path):
    library, base = tmp_path / "Caf\xe9", tmp_path / "sidecars"
    fill(library, "a.jpg")
    there = mirrored(tmp_path, base) / "cafe\u0301"
    fill(there, "a.jpg.xmp")
    assert find_sidecars(library / "a.jpg", Naming(folder=base)).xmp == there / "a.jpg.xmp"


def test_a_link_whose_name_differs_in_form_only_has_the_photos_sidecars(tmp_path):
    fill(tmp_path / "2020", NFD, f"{NFD}.xmp")
    best = link(tmp_path / "best", NFC, f"../2020/{NFD}")
    assert find_sidecars(best).xmp == tmp_path / "2020" / f"{NFD}.xmp"


def test_many_names_take_little_time(tmp_path, monkeypatch):
    names = [f"IMG_{k:06}.JPG" for k in range(12_000)] + [f"caf\xe9 {k}.jpg" for k in range(8_000)]
    sidecars = [unicodedata.normalize("NFD", n.replace(".JPG", ".jpg")) + ".xmp" for n in names]
    monkeypatch.setattr(locate.os, "listdir", lambda folder: [*names, *sidecars])
    began, namer = time.process_time(), Namer()
    for name, sidecar in zip(names, sidecars, strict=True):
        assert namer.find(tmp_path / name).xmp.name == sidecar
    assert time.process_time() - began < 10  # .5 s on an idle core; a scan of the folder for each name takes an hour
