"""Regions in XMP: the stored picture's frame, other programs' entries, nine at most, ours marked."""

import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from PIL import Image

from engine.core.boxes import Box, stored_size, to_stored, to_upright
from engine.photos.decode import load_photo
from engine.sidecars.rdf.forms import MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import (
    LIMIT,
    NamedRegion,
    add_regions,
    read_dimensions,
    read_regions,
    regions_kept,
    remove_regions,
)

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RS = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIM = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
XMLNS = (
    f'xmlns:rdf="{RDF}" xmlns:r="{RS}" xmlns:a="{AREA}" xmlns:d="{DIM}" xmlns:MP="http://ns.microsoft.com/photo/1.2/"'
    ' xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#" xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#"'
)


def wrap(body):
    text = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {XMLNS}><rdf:Description rdf:about="">{body}</rdf:Description>'
    )
    return (text + "</rdf:RDF></x:xmpmeta>").encode()


def mwg(*entries, size='d:w="400" d:h="300" d:unit="pixel"'):
    dimensions = f"<r:AppliedToDimensions {size}/>" if size else ""
    bag = f"<r:RegionList><rdf:Bag>{''.join(entries)}</rdf:Bag></r:RegionList>"
    return f'<r:Regions rdf:parseType="Resource">{dimensions}{bag}</r:Regions>'


def entry(name, x=0.5, y=0.5, w=0.1, h=0.2, unit="normalized", kind="Face"):
    area = f'<r:Area a:x="{x}" a:y="{y}" a:w="{w}" a:h="{h}" a:unit="{unit}"/>'
    return f'<rdf:li rdf:parseType="Resource">{area}<r:Name>{name}</r:Name><r:Type>{kind}</r:Type></rdf:li>'


ANNA = NamedRegion("Anna", 0.5, 0.5, 0.1, 0.2)
SAME = [
    mwg(entry("Anna")),
    mwg(entry("Anna", 200, 150, 40, 60, "pixel")),
    # attributes on rdf:Description, as Picasa and Lightroom write them
    '<r:Regions><rdf:Description><r:AppliedToDimensions d:w="400" d:h="300" d:unit="pixel"/><r:RegionList><rdf:Bag>'
    '<rdf:li><rdf:Description r:Name="Anna" r:Type="Face"><r:Area a:x=".5" a:y=".5" a:w=".1" a:h=".2"/>'
    "</rdf:Description></rdf:li></rdf:Bag></r:RegionList></rdf:Description></r:Regions>",
    # everything as elements
    '<r:Regions rdf:parseType="Resource"><r:RegionList><rdf:Seq><rdf:li rdf:parseType="Resource"><r:Area'
    ' rdf:parseType="Resource"><a:x>0.5</a:x><a:y>0.5</a:y><a:w>0.1</a:w><a:h>0.2</a:h></r:Area><r:Name> Anna </r:Name>'
    "</rdf:li></rdf:Seq></r:RegionList></r:Regions>",
    # attributes on the item itself, a name in languages
    '<r:Regions rdf:parseType="Resource"><r:RegionList><rdf:Bag><rdf:li r:Type="Face"><rdf:Description><r:Name>'
    '<rdf:Alt><rdf:li xml:lang="x-default">Anna</rdf:li></rdf:Alt></r:Name><r:Area><rdf:Description a:x="0.5" a:y="0.5"'
    ' a:w="0.1" a:h="0.2"/></r:Area></rdf:Description></rdf:li></rdf:Bag></r:RegionList></r:Regions>',
    # Microsoft
    '<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag><rdf:li MPReg:Rectangle="0.45, 0.4, 0.1, 0.2"'
    ' MPReg:PersonDisplayName="Anna"/></rdf:Bag></MPRI:Regions></MP:RegionInfo>',
    "<MP:RegionInfo><rdf:Description><MPRI:Regions><rdf:Bag><rdf:li><rdf:Description"
    ' MPReg:Rectangle="0.45,0.4,0.1,0.2">'
    "<MPReg:PersonDisplayName>Anna</MPReg:PersonDisplayName></rdf:Description></rdf:li></rdf:Bag></MPRI:Regions>"
    "</rdf:Description></MP:RegionInfo>",
]


def near(a, b):
    return (a.name, a.type) == (b.name, b.type) and np.allclose((a.x, a.y, a.w, a.h), (b.x, b.y, b.w, b.h))


@pytest.mark.parametrize("body", SAME)
def test_every_form_says_the_same(body):
    (found,) = read_regions(Packet(wrap(body)))
    assert near(found, ANNA), found


def test_both_forms_of_one_region_count_once():
    assert len(read_regions(Packet(wrap(SAME[0] + SAME[5])))) == 1
    apart = SAME[5].replace("0.45, 0.4,", "0.05, 0.1,")
    assert len(read_regions(Packet(wrap(SAME[0] + apart)))) == 2


@pytest.mark.parametrize(
    "broken",
    [
        entry(""),
        entry("  "),
        entry("x", x="left"),
        entry("x", x="nan"),
        entry("x", w=0),
        entry("x", w=-0.1),
        entry("x", x=3),
        entry("x", 200, 150, 40, 60),
        '<rdf:li rdf:parseType="Resource"><r:Name>x</r:Name></rdf:li>',
        '<rdf:li rdf:parseType="Resource"><r:Name>x</r:Name><r:Area a:x="0.5" a:y="0.5"/></rdf:li>',
        '<rdf:li rdf:parseType="Resource"><r:Name>x</r:Name><r:Area a:x="0.5" a:y="0.5" a:d="0.1"/></rdf:li>',
        "<rdf:li>x</rdf:li>",
        "<rdf:li/>",
    ],
)
def test_broken_entries_are_left_out_and_kept(broken):
    packet = Packet(wrap(mwg(broken, entry("Anna"))))
    assert [r.name for r in read_regions(packet)] == ["Anna"]
    before = Packet(packet.serialise())
    add_regions(packet, [NamedRegion("Rex", 0.2, 0.2, 0.1, 0.1, "Pet")], (400, 300))
    assert regions_kept(before, packet)
    assert [r.name for r in read_regions(packet)] == ["Anna", "Rex"]


def test_pixels_of_an_unknown_size_mean_nothing():
    packet = Packet(wrap(mwg(entry("Anna", 200, 150, 40, 60, "pixel"), size="")))
    assert read_regions(packet) == ()
    added = add_regions(packet, [NamedRegion("Rex", 0.2, 0.2, 0.1, 0.1)], (400, 300))
    assert not added.written
    assert "unknown size" in str(added.notes[0])


@pytest.mark.parametrize(
    "odd", ["<r:Regions/>", "<r:Regions>text</r:Regions>", mwg().replace("Bag>", "Nag>"), mwg() * 2]
)
def test_what_has_an_unusual_form_is_left_alone(odd):
    data = wrap(odd.replace("rdf:Nag>", "r:Nag>"))
    packet = Packet(data)
    added = add_regions(packet, [ANNA], (400, 300))
    assert not added.written
    assert added.notes
    assert packet.serialise() == Packet(data).serialise()


def count(packet):
    return len(etree.fromstring(packet.serialise()).findall(f".//{{{RS}}}RegionList/{{{RDF}}}Bag/{{{RDF}}}li"))


@pytest.mark.parametrize("there", range(0, 12))
def test_never_more_than_nine_and_never_unnamed(there):
    others = [entry(f"P{k}", x=0.05 * k + 0.1) for k in range(there - there // 2)] + [entry("")] * (there // 2)
    packet = Packet(wrap(mwg(*others)))
    wanted = [NamedRegion(f"Q{k}", 0.1 * k + 0.05, 0.9, 0.05, 0.05) for k in range(10)]
    added = add_regions(packet, [NamedRegion(" ", 0.5, 0.5, 0.1, 0.1), *wanted], (400, 300))
    assert len(added.written) == max(0, LIMIT - there)
    assert count(packet) == max(LIMIT, there)
    assert "Q9" in str(added.notes[0])
    assert not [m for m in packet.items(MYVLM, "Regions") if m.startswith(" ")]
    again = Packet(packet.serialise())
    assert add_regions(again, wanted, (400, 300)).written == added.written
    assert again.serialise() == packet.serialise()


def test_who_is_tagged_by_somebody_else_is_not_tagged_again():
    packet = Packet(wrap(mwg(entry("anna  maria", x=0.8))))
    data = packet.serialise()
    assert add_regions(packet, [NamedRegion("Anna Maria", 0.2, 0.2, 0.1, 0.1)], (400, 300)).written == ()
    assert packet.serialise() == data


def test_ours_follow_and_go_others_stay():
    human = mwg(entry("Otto", x=0.8))
    packet = Packet(wrap(human))
    start = Packet(wrap(human))
    add_regions(packet, [ANNA, NamedRegion("Rex", 0.2, 0.2, 0.1, 0.1, "Pet")], (400, 300))
    moved = NamedRegion("Anna", 0.4, 0.5, 0.1, 0.2)
    add_regions(packet, [moved], (400, 300))
    assert [(r.name, r.x) for r in read_regions(packet)] == [("Otto", 0.8), ("Anna", 0.4)]
    assert packet.items(MYVLM, "Regions") == ["Anna 0.400000 0.500000 0.100000 0.200000"]
    assert remove_regions(packet, {"ANNA"}) == ("Anna",)
    assert [r.name for r in read_regions(packet)] == ["Otto"]
    assert packet.find(MYVLM, "Regions") is None
    assert regions_kept(start, packet)


def test_what_a_human_changed_is_no_longer_ours():
    packet = Packet(wrap(""))
    add_regions(packet, [ANNA, NamedRegion("Rex", 0.2, 0.2, 0.1, 0.1, "Pet")], (400, 300))
    moved = Packet(packet.serialise().replace(b':x="0.500000"', b':x="0.550000"'))
    assert [r.name for r in add_regions(moved, [ANNA], (400, 300)).written] == []
    assert [(r.name, r.x) for r in read_regions(moved)] == [("Anna", 0.55)]
    assert remove_regions(moved) == ()
    assert [r.name for r in read_regions(moved)] == ["Anna"]


def test_those_to_keep_stay_as_they_are():
    packet = Packet(wrap(mwg(entry("Otto", x=0.8))))
    add_regions(packet, [ANNA, NamedRegion("Rex", 0.2, 0.2, 0.1, 0.1, "Pet")], (400, 300))
    start = packet.serialise()
    assert add_regions(packet, [ANNA], (400, 300), keep=["REX"]).written == (ANNA,)
    assert packet.serialise() == start
    add_regions(packet, [], (400, 300), keep=["rex"])
    assert [r.name for r in read_regions(packet)] == ["Otto", "Rex"]
    assert packet.items(MYVLM, "Regions") == ["Rex 0.200000 0.200000 0.100000 0.100000"]
    add_regions(packet, [], (400, 300))
    assert packet.find(MYVLM, "Regions") is None


def test_removing_all_of_ours_leaves_what_was_there():
    for body in ("", mwg(entry("Otto")), mwg(entry("Otto"), size="")):
        packet = Packet(wrap(body + "<r:Other>1</r:Other>"))
        before = packet.serialise()
        add_regions(packet, [ANNA], (400, 300))
        assert packet.serialise() != before
        assert regions_kept(Packet(before), packet)
        assert remove_regions(packet) == ("Anna",)
        assert regions_kept(Packet(before), packet)
        assert b"Anna" not in packet.serialise()
        assert (b"AppliedToDimensions" in packet.serialise()) == (b"AppliedToDimensions" in before)


def test_the_check_sees_every_change_of_others():
    before = wrap(mwg(entry("Otto", x=0.8)))
    for old, new in ((b"Otto", b"Otti"), (b'a:x="0.8"', b'a:x="0.7"'), (b'd:w="400"', b'd:w="800"'), (b"Face", b"Pet")):
        assert not regions_kept(Packet(before), Packet(before.replace(old, new)))
    assert regions_kept(Packet(before), Packet(before))
    otto, ben = entry("Otto", x=0.8), entry("Ben", x=0.2)
    assert not regions_kept(Packet(wrap(mwg(otto, ben))), Packet(wrap(mwg(ben, otto))))
    two = Packet(wrap(mwg(otto, ben)))
    add_regions(two, [ANNA], (400, 300))
    moved = etree.fromstring(two.serialise())
    bag = moved.find(f".//{{{RS}}}RegionList/{{{RDF}}}Bag")
    bag.insert(0, bag[1])
    assert regions_kept(Packet(wrap(mwg(otto, ben))), two)
    assert not regions_kept(Packet(wrap(mwg(otto, ben))), Packet(etree.tostring(moved)))


@pytest.mark.parametrize(
    ("size", "fits"),
    [((400, 300), True), ((800, 600), True), ((1601, 1200), True), ((300, 400), False), ((400, 200), False)],
)
def test_regions_of_another_crop_or_turn_get_no_company(size, fits):
    packet = Packet(wrap(mwg(entry("Otto", x=0.8))))
    added = add_regions(packet, [ANNA], size)
    assert bool(added.written) == fits
    assert read_dimensions(packet) == (400, 300)
    assert fits or "400 x 300" in str(added.notes[0])


def test_our_own_follow_the_picture_into_another_shape():
    packet = Packet(wrap(""))
    add_regions(packet, [ANNA], (400, 300))
    add_regions(packet, [NamedRegion("Anna", 0.3, 0.5, 0.1, 0.2)], (300, 400))
    assert read_dimensions(packet) == (300, 400)
    assert [r.x for r in read_regions(packet)] == [0.3]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), min_size=1, max_size=8)
PARTS = st.floats(0.001, 1.0, allow_nan=False)
SOME = st.lists(
    st.builds(NamedRegion, NAMES, PARTS, PARTS, PARTS, PARTS, st.sampled_from(["Face", "Pet"])), max_size=12
)


@given(SOME, SOME, SOME)
def test_any_edit_keeps_others_and_a_second_one_changes_nothing(others, first, second):
    import html

    text = "".join(entry(html.escape(r.name), r.x, r.y, r.w, r.h, kind=r.type) for r in others)
    start = Packet(wrap(mwg(text)))
    packet = Packet(start.serialise())
    for wanted in (first, second):
        add_regions(packet, wanted, (400, 300))
        assert regions_kept(start, packet)
        data = packet.serialise()
        add_regions(packet, wanted, (400, 300))
        assert packet.serialise() == data
    assert count(packet) <= max(LIMIT, len(others))
    remove_regions(packet)
    assert regions_kept(start, packet)
    assert packet.find(MYVLM, "Regions") is None


# --- the orientation table -------------------------------------------------------------------------------------------

UPRIGHT, PATCH = (64, 48), Box(8, 4, 24, 28)
STORED_FROM_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera stores an upright picture (EXIF 2.32, tag 0x0112), written with numpy and not with our code."""


def draw_upright():
    pixels = np.full((UPRIGHT[1], UPRIGHT[0], 3), 30, np.uint8)
    x0, y0, x1, y1 = PATCH.rounded()
    pixels[y0:y1, x0:x1] = (220, 40, 40)
    pixels[y0 : y0 + 8, x0 : x0 + 8] = (40, 220, 40)  # the patch has an upper left corner
    return pixels


def store(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](draw_upright())))
    if path.suffix == ".heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
        # pillow-heif turns what the EXIF says into HEIF's own rotation and keeps the EXIF, as telephones do
        stored.save(path, quality=-1, chroma="444", exif=exif.tobytes())
    else:
        stored.save(path, exif=exif)
    return stored.size


def tagged(path, orientation):
    """Write a region around the patch as the pipeline does: from pixels of the upright photo as myvlm decodes it."""
    photo = load_photo(path)
    assert photo.facts.orientation == orientation
    assert photo.image.size == UPRIGHT
    size = stored_size(orientation, *photo.image.size)
    box = to_stored(PATCH, orientation, *photo.image.size)
    w, h = size
    x, y = (box.x0 + box.x1) / 2 / w, (box.y0 + box.y1) / 2 / h
    packet = Packet(None)
    add_regions(packet, [NamedRegion("Patch", x, y, (box.x1 - box.x0) / w, (box.y1 - box.y0) / h)], size)
    sidecar = path.with_name(path.name + ".xmp")
    sidecar.write_bytes(packet.serialise())
    return sidecar, photo


def by_the_book(sidecar):
    """Read a region by the MWG specification alone."""
    tree = etree.fromstring(sidecar.read_bytes())
    size = tree.find(f".//{{{RS}}}AppliedToDimensions")
    area = tree.find(f".//{{{RS}}}Area")
    assert size.get(f"{{{DIM}}}unit") == "pixel"
    assert area.get(f"{{{AREA}}}unit") == "normalized"
    return [float(size.get(f"{{{DIM}}}{n}")) for n in "wh"], [float(area.get(f"{{{AREA}}}{n}")) for n in "xywh"]


def by_exiftool(sidecar):
    text = subprocess.run(["exiftool", "-j", "-struct", "-n", sidecar], capture_output=True, check=True).stdout
    info = json.loads(text)[0]["RegionInfo"]
    size, area = info["AppliedToDimensions"], info["RegionList"][0]["Area"]
    assert info["RegionList"][0]["Name"] == "Patch"
    return [float(size[n]) for n in "WH"], [float(area[n]) for n in "XYWH"]


def crop_stored(stored, part):
    """What the region frames in the stored pixels, as stored."""
    x, y, w, h = part
    height, width = stored.shape[:2]
    x0, x1 = round((x - w / 2) * width), round((x + w / 2) * width)
    y0, y1 = round((y - h / 2) * height), round((y + h / 2) * height)
    return stored[y0:y1, x0:x1]


READERS = [
    by_the_book,
    pytest.param(by_exiftool, marks=pytest.mark.skipif(not shutil.which("exiftool"), reason="no exiftool")),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("ending", ["png", "jpg", "heic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_region_frames_the_same_pixels(tmp_path, orientation, ending, read):
    path = tmp_path / f"photo.{ending}"
    stored_dimensions = store(path, orientation)
    sidecar, photo = tagged(path, orientation)
    size, part = read(sidecar)
    assert tuple(size) == stored_dimensions
    x0, y0, x1, y1 = PATCH.rounded()
    stored = np.asarray(STORED_FROM_UPRIGHT[orientation](draw_upright()))
    framed = crop_stored(stored, part)
    wanted = STORED_FROM_UPRIGHT[orientation](draw_upright()[y0:y1, x0:x1])
    assert np.array_equal(framed, wanted)
    # and back through our own reader and decoder, as --from-regions goes
    (region,) = read_regions(Packet(sidecar.read_bytes()))
    w, h = stored_dimensions
    corners = ((region.x - region.w / 2) * w, (region.y - region.h / 2) * h, (region.x + region.w / 2) * w)
    box = to_upright(Box(*corners, (region.y + region.h / 2) * h), orientation, *photo.image.size)
    assert box.rounded() == PATCH.rounded()
    crop = np.asarray(photo.image.crop(box.rounded())).astype(int)
    assert np.abs(crop - draw_upright()[y0:y1, x0:x1]).mean() < (1 if ending == "png" else 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_there_and_back(orientation):
    box = Box(3.5, 5, 11, 21.25)
    assert to_upright(to_stored(box, orientation, 40, 30), orientation, 40, 30) == box


def test_the_album_of_another_program_is_read_by_exiftool_and_exiv2_after_us(tmp_path):
    path = tmp_path / "nine.xmp"
    packet = Packet(wrap(mwg(*(entry(f"P{k}", x=0.1 * k + 0.05) for k in range(5)))))
    add_regions(packet, [NamedRegion(f"Ünï & <{k}>", 0.1 * k + 0.05, 0.9, 0.05, 0.05) for k in range(9)], (400, 300))
    path.write_bytes(packet.serialise())
    if not shutil.which("exiv2") or not shutil.which("exiftool"):
        pytest.skip("no exiv2 or no exiftool")
    # what darktable does: exiv2 reads the packet, changes something, writes it whole
    subprocess.run(["exiv2", "-M", "set Xmp.xmp.Rating 3", path], check=True, capture_output=True)
    names = subprocess.run(["exiftool", "-j", "-RegionName", path], capture_output=True, check=True).stdout
    expected = [f"P{k}" for k in range(5)] + [f"Ünï & <{k}>" for k in range(4)]
    assert json.loads(names)[0]["RegionName"] == expected
    assert [r.name for r in read_regions(Packet(path.read_bytes()))] == expected
    assert len(remove_regions(Packet(path.read_bytes()))) == 4


def test_what_exiftool_writes_is_read(tmp_path):
    if not shutil.which("exiftool"):
        pytest.skip("no exiftool")
    path = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(path)
    info = "{AppliedToDimensions={W=40,H=30,Unit=pixel},RegionList=[{Area={X=0.5,Y=0.5,W=0.1,H=0.2,Unit=normalized},"
    microsoft = "{Regions=[{Rectangle=0.05\\, 0.1\\, 0.2\\, 0.2,PersonDisplayName=Otto}]}"
    arguments = [f"-RegionInfo={info}Name=Anna,Type=Face}}]}}", f"-RegionInfoMP={microsoft.replace(chr(92), '|')}"]
    subprocess.run(["exiftool", *arguments, path], check=True, capture_output=True)
    with Image.open(io.BytesIO(path.read_bytes())) as opened:
        packet = opened.info["xmp"]
    assert [r.name for r in read_regions(Packet(packet))] == ["Anna", "Otto"]
    assert near(read_regions(Packet(packet))[0], ANNA)


def scramble(data, rng):
    """The bytes with some stretches removed, doubled, swapped or overwritten."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        a, b = sorted(rng.integers(0, len(data), 2))
        b = min(b, a + int(rng.integers(1, 60)))
        match rng.integers(0, 4):
            case 0:
                del data[a:b]
            case 1:
                data[a:a] = data[a:b]
            case 2:
                at = int(rng.integers(0, len(data)))
                data[at:at] = data[a:b]
            case _:
                words = (b"r:Name", b"rdf:li", b"rdf:Bag", b"0.5", b"nan", b"<a/>", b'"', b"rdf:Description", b"pixel")
                data[a:a] = words[rng.integers(0, len(words))]
    return bytes(data)


@pytest.mark.parametrize("seed", range(10))
def test_damaged_packets_neither_crash_nor_lose_anything(seed):
    from engine.core.errors import SidecarError

    rng = np.random.default_rng(seed)
    sources = [wrap(body) for body in SAME]
    packet = Packet(wrap(mwg(entry("Otto", x=0.8))))
    add_regions(packet, [ANNA, NamedRegion("Rex", 0.2, 0.2, 0.1, 0.1, "Pet")], (400, 300))
    sources.append(packet.serialise())
    parsed = 0
    for _ in range(300):
        data = scramble(sources[rng.integers(0, len(sources))], rng)
        try:
            packet = Packet(data)
        except SidecarError:
            continue
        parsed += 1
        before = Packet(data)
        for region in read_regions(packet):
            assert region.name
            assert 0 <= region.x <= 1
        add_regions(packet, [ANNA, NamedRegion("Milo", 0.1, 0.1, 0.1, 0.1, "Pet")], (400, 300))
        assert regions_kept(before, packet)
        once = packet.serialise()
        add_regions(packet, [ANNA, NamedRegion("Milo", 0.1, 0.1, 0.1, 0.1, "Pet")], (400, 300))
        assert packet.serialise() == once
        remove_regions(packet)
        assert regions_kept(before, packet)
    assert parsed > 3


def test_other_programs_mean_the_same_frame(shared):
    """One picture stored in three orientations, its faces tagged by another program (pigallery2's test files)."""
    places = {}
    for orientation in (3, 6, 8):
        data = (shared / "sidecars" / f"orientation_photo.{orientation}.embedded_sidecar.jpg.xmp").read_bytes()
        packet = Packet(data)
        width, height = read_dimensions(packet)
        upright = stored_size(orientation, width, height)
        for r in read_regions(packet):
            x, y = r.x * width, r.y * height
            box = to_upright(Box(x - 1, y - 1, x + 1, y + 1), orientation, *upright)
            places.setdefault(r.name, []).append((upright, (box.x0 + 1) / upright[0], (box.y0 + 1) / upright[1]))
    assert set(places) == {"Marie Curie", "Pierre Curie"}
    for found in places.values():
        assert len(found) == 3
        assert len({size for size, _, _ in found}) == 1
        assert np.ptp([x for _, x, _ in found]) < 0.02
        assert np.ptp([y for _, _, y in found]) < 0.02
