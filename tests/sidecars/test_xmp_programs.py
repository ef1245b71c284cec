"""Our words in the company of other programs: real sidecars, real readers, and what programs do to ours."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from engine.core.notes import NoteCode
from engine.photos.metadata.embedded import Embedded
from engine.sidecars.rdf.forms import DC, DIGIKAM, IPTC_EXT, MYVLM, TIFF
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import NamedRegion
from engine.sidecars.xmp import Policy, read_xmp_status, remove_content
from tests.sidecars.other_programs import darktable, digikam, lightroom, read
from tests.sidecars.xmp_oracles import LATER, NOW, WORDS, array, assert_kept, block, description, graph, merging, wrap

REGIONS = replace(WORDS, regions=(NamedRegion("Anna", 0.5, 0.4, 0.2, 0.3),), dimensions=(400, 300))
WAYS = {"plain": (WORDS, Policy()), "everything": (REGIONS, Policy(hierarchy=True))}


def real(shared):
    files = sorted((shared / "sidecars").glob("*.xmp"))
    assert len(files) == 28
    return files


@pytest.mark.parametrize("way", WAYS)
def test_real_sidecars_keep_every_foreign_property(shared, way):
    words, policy = WAYS[way]
    for file in real(shared):
        before = file.read_bytes()
        after = merging(before, words, NOW, policy=policy).data
        if way == "plain":
            assert_kept(before, after)
        assert merging(after, words, LATER, policy=policy).data is None, file.name
        left = remove_content(after)
        assert graph(left, shared=True) == graph(before, shared=True) if left else not graph(before), file.name


@pytest.mark.parametrize("rewrite", [digikam, lightroom])
def test_real_sidecars_that_another_program_wrote_anew_need_no_second_merge(shared, rewrite):
    for file in real(shared):
        if not dict(read(file.read_bytes())):
            continue
        ours = merging(file.read_bytes(), REGIONS, NOW).data
        again = rewrite(ours, seed=7)
        assert merging(again, REGIONS, LATER).data is None, file.name
        standing = read_xmp_status(again)
        assert standing == read_xmp_status(ours), file.name
        assert not standing.dropped


def exiftool(paths):
    command = ["exiftool", "-j", "-G1", "-struct", "-n", "-a", *map(str, paths)]
    found = json.loads(subprocess.run(command, capture_output=True, timeout=120, check=True).stdout)
    return [
        {k: v for k, v in f.items() if k.split(":")[0] not in ("SourceFile", "System", "File", "ExifTool")}
        for f in found
    ]


SHARED = (
    "Subject",
    "Description",
    "PersonInImage",
    "MetadataDate",
    "HierarchicalSubject",
    "TagsList",
    "ImageDescription",
)


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
def test_exiftool_reads_ours_and_everything_that_was_there(shared, tmp_path):
    files = real(shared)
    after = [tmp_path / f.name for f in files]
    for file, path in zip(files, after, strict=True):
        path.write_bytes(merging(file.read_bytes(), WORDS, NOW).data)
    for file, old, new in zip(files, exiftool(files), exiftool(after), strict=True):
        for key, value in old.items():
            if key.rsplit(":", 1)[1] not in SHARED:
                assert new[key] == value, (file.name, key)
        added = {k for k in new if k not in old}
        assert all(k.rsplit(":", 1)[1] in SHARED or k.startswith("XMP-myvlm") for k in added), added
        subject = new["XMP-dc:Subject"]
        subject = subject if isinstance(subject, list) else [subject]
        assert {"Anna", "Rex"} <= set(subject), file.name
        assert "Anna" in new["XMP-iptcExt:PersonInImage"]
        assert new.get("XMP-dc:Description") in (old.get("XMP-dc:Description") or WORDS.caption, WORDS.caption)


def exiv2(path):
    result = subprocess.run(["exiv2", "-PXkt", str(path)], capture_output=True, timeout=60)
    lines = result.stdout.decode("utf-8", "replace").splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("Xmp.")}


@pytest.mark.skipif(not shutil.which("exiv2"), reason="exiv2 is not installed")
def test_exiv2_reads_ours_and_everything_that_was_there(shared, tmp_path):
    """exiv2 reads for digiKam and darktable."""
    readable = 0
    for file in real(shared):
        path = tmp_path / file.name
        path.write_bytes(merging(file.read_bytes(), REGIONS, NOW).data)
        old, new = exiv2(file), exiv2(path)
        readable += bool(old)
        for key, value in old.items():
            name = key.split(".")[2]
            assert name[:1].upper() + name[1:] in SHARED or name.startswith("Regions") or new.get(key) == value, (
                file.name,
                key,
            )
        if old or new:
            assert "Rex" in new["Xmp.dc.subject"].split(", "), file.name
            assert "Anna" in new["Xmp.iptcExt.PersonInImage"] if "Xmp.iptcExt.PersonInImage" in new else True
    assert readable >= 25


class TestDarktable:
    """It drops dc:description, dc:subject and lr:hierarchicalSubject, and fills them from its own database."""

    START = wrap(block(array("dc:subject", "holiday"), 'xmp:Rating="3"'))

    def test_what_it_dropped_is_told_and_comes_back(self):
        asked = Policy(hierarchy=True)
        ours = merging(self.START, REGIONS, NOW, policy=asked).data
        dropped = darktable(ours, subject=("holiday", "darktable|format|jpg"))
        standing = read_xmp_status(dropped)
        assert standing.marked
        assert standing.caption == "dropped"
        assert standing.dropped == ("dc:description", "dc:subject", "lr:hierarchicalSubject")
        again = merging(dropped, REGIONS, LATER).data
        packet = Packet(again)
        assert packet.default_text(DC, "description") == WORDS.caption
        assert packet.items(DC, "subject") == ["holiday", "darktable|format|jpg", "Anna", "Rex"]
        assert packet.items(IPTC_EXT, "PersonInImage") == ["Anna"]
        assert read_xmp_status(again).caption == "ours"
        assert read_xmp_status(again).dropped == ()
        assert merging(again, REGIONS, LATER).data is None

    def test_time_and_again(self):
        data = merging(self.START, WORDS, NOW).data
        for seed in range(5):
            data = merging(darktable(data, subject=("holiday",), seed=seed), WORDS, LATER).data
        assert Packet(data).items(DC, "subject") == ["holiday", "Anna", "Rex"]
        assert b"Anna" not in remove_content(data)

    def test_a_description_that_a_human_wrote_there_stays(self):
        ours = merging(self.START, WORDS, NOW).data
        theirs = darktable(ours, subject=("holiday",), description="Our summer")
        assert read_xmp_status(theirs).caption == "human"
        data = merging(theirs, WORDS, LATER).data or theirs
        assert Packet(data).default_text(DC, "description") == "Our summer"

    def test_the_mirror_and_the_tags_list_survive(self):
        embedded = Embedded(exif_description="SONY DSC")
        ours = merging(None, WORDS, NOW, embedded=embedded).data
        dropped = darktable(ours)
        assert read_xmp_status(dropped).dropped == ("dc:description", "dc:subject")
        again = Packet(merging(dropped, WORDS, LATER).data)
        assert again.default_text(TIFF, "ImageDescription") == WORDS.caption
        assert again.items(DIGIKAM, "TagsList") == ["People/Anna", "Pets/Rex"]


@pytest.mark.parametrize("rewrite", [digikam, lightroom])
def test_a_human_edit_in_another_program_is_untouched(rewrite):
    ours = merging(None, WORDS, NOW).data
    edited = rewrite(ours.replace(WORDS.caption.encode(), b"Rex asleep, finally!"), seed=3)
    assert read_xmp_status(edited).caption == "human"
    assert read_xmp_status(edited).dropped == ()
    later = merging(edited, replace(WORDS, caption="Rex is awake."), LATER).data
    assert later is None or b"Rex asleep, finally!" in later
    assert Packet(remove_content(edited)).default_text(DC, "description") == "Rex asleep, finally!"


def test_a_caption_that_only_changed_its_unicode_form_and_spaces_is_still_ours():
    words = replace(WORDS, caption="Zoë is on Anna's sofa.")
    ours = merging(None, words, NOW).data
    edited = ours.replace("Zoë is on".encode(), "Zoe\u0308 is\n   on".encode())
    assert read_xmp_status(edited).caption == "ours"
    assert merging(edited, words, LATER).data is None


class TestSeeding:
    """A new sidecar hides the photo's own metadata, so it starts from that."""

    def test_the_packet_is_carried_without_padding(self):
        xmp = wrap(block(description("Grandma wrote this"), 'xmp:Rating="4"'), '<?xpacket begin="" id="W5M0"?>')
        xmp += b" \n" * 500 + b'<?xpacket end="w"?>' + b"\0" * 3
        merge = merging(None, WORDS, NOW, embedded=Embedded(xmp=xmp))
        assert graph(xmp.rstrip(b"\0")) == graph(merge.data)
        assert b"Grandma wrote this" in merge.data
        assert WORDS.caption.encode() not in merge.data
        assert len(merge.data) < len(xmp) + 3000

    def test_iptc_and_exif_fill_in_what_the_packet_lacks(self):
        embedded = Embedded(
            xmp=wrap(block("<dc:title>Kept</dc:title>")),
            exif_description=" Grandma, 1980\0",
            title="IPTC title",
            keywords=("family", "family", "home\x01"),
            rating=5,
            creator=("Ben",),
            copyright="(c) Ben",
        )
        packet = Packet(merging(None, WORDS, NOW, embedded=embedded).data)
        assert packet.default_text(DC, "description") == "Grandma, 1980"
        assert packet.default_text(DC, "title") == "Kept"
        assert packet.items(DC, "subject") == ["family", "home", "Anna", "Rex"]
        assert packet.items(DIGIKAM, "TagsList") == ["family", "home", "People/Anna", "Pets/Rex"]
        assert packet.text("http://ns.adobe.com/xap/1.0/", "Rating") == "5"
        assert packet.items(DC, "creator") == ["Ben"]
        assert packet.default_text(DC, "rights") == "(c) Ben"
        left = Packet(remove_content(packet.serialise()))
        assert left.default_text(DC, "description") == "Grandma, 1980", "it is the human's, not ours"
        assert left.items(DC, "subject") == ["family", "home"]

    def test_junk_and_zero_ratings_are_not_seeded(self):
        embedded = Embedded(exif_description="SONY DSC", iptc_caption="Grandma", rating=0)
        data = merging(None, WORDS, NOW, embedded=embedded).data
        assert Packet(data).default_text(DC, "description") == "Grandma"
        for absent in (b"SONY", b"Rating"):
            assert absent not in data

    def test_a_bare_rdf_packet_is_wrapped(self):
        inner = wrap(block("<dc:title>Home</dc:title>"))
        bare = inner[inner.index(b"<rdf:RDF") : inner.index(b"</x:xmpmeta>")]
        data = merging(None, WORDS, NOW, embedded=Embedded(xmp=bare)).data
        assert b"<x:xmpmeta" in data
        assert b'<?xpacket end="w"?>' in data
        assert graph(data) == graph(bare)

    def test_a_utf16_packet_is_carried(self):
        xmp = ('<?xml version="1.0" encoding="UTF-16"?>' + wrap(block("<dc:title>Zoë</dc:title>")).decode()).encode(
            "utf-16"
        )
        data = merging(None, WORDS, NOW, embedded=Embedded(xmp=xmp)).data
        assert Packet(data).default_text(DC, "title") == "Zoë"

    @pytest.mark.parametrize("xmp", [b"<x:xmpmeta", wrap("").decode().encode("utf-16")[:-3], b"\xff\xfe\0\xd8"])
    def test_a_damaged_packet_is_an_error_because_a_sidecar_would_hide_it(self, xmp):
        with pytest.raises(Exception, match="embedded metadata is damaged"):
            merging(None, WORDS, NOW, embedded=Embedded(xmp=xmp))
        merging(wrap(block()), WORDS, NOW, embedded=Embedded(xmp=xmp))  # one that is there hides it already

    def test_what_points_into_the_photo_file_is_not_carried(self):
        note = 'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="0123"'
        merge = merging(None, WORDS, NOW, embedded=Embedded(xmp=wrap(block("", note))))
        assert b"HasExtendedXMP" not in merge.data
        assert merge.notes[0].code is NoteCode.NO_EXTENDED_XMP

    def test_what_the_packet_only_mirrors_of_the_file_is_not_carried(self):
        spaces = 'xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        mirrors = 'tiff:Orientation="6" tiff:ImageWidth="40" exif:PixelXDimension="40" exif:FNumber="8/1" '
        sizes = "<tiff:ImageLength>30</tiff:ImageLength><exif:PixelYDimension>30</exif:PixelYDimension>"
        xmp = wrap(block(sizes + array("dc:subject", "home"), mirrors), spaces=spaces)
        data = merging(None, embedded=Embedded(xmp=xmp)).data
        for gone in (b"Orientation", b"ImageWidth", b"ImageLength", b"PixelXDimension", b"PixelYDimension"):
            assert gone not in data
        assert b'exif:FNumber="8/1"' in data

    @pytest.mark.parametrize(
        ("dates", "stays"),
        [
            ({"exif:DateTimeOriginal": "1980"}, True),  # nothing else says so
            ({"exif:DateTimeOriginal": "2026-05-01T10:00:00", "photoshop:DateCreated": "1980-07"}, True),
            ({"exif:DateTimeOriginal": "2026-05-01T10:00:00", "xmp:CreateDate": "2026-05-01T10:00:00.00"}, False),
            ({"exif:DateTimeDigitized": "2026-05-01T10:00:00", "photoshop:DateCreated": "2026-05-01T10:00:00"}, False),
        ],
    )
    def test_a_date_is_carried_unless_another_says_the_same(self, dates, stays):
        spaces = 'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        xmp = wrap(block("", " ".join(f'{k}="{v}"' for k, v in dates.items())), spaces=spaces)
        data = merging(None, embedded=Embedded(xmp=xmp)).data
        assert (b"exif:DateTime" in data) == stays
        for name, date in dates.items():
            assert f'{name}="{date}"'.encode() in data or name.startswith("exif:")

    def test_a_photo_that_has_our_block_inside_is_kept_up_to_date(self):
        inside = merging(None, WORDS, NOW).data
        data = merging(None, replace(WORDS, caption="Rex awoke."), NOW, embedded=Embedded(xmp=inside)).data
        assert Packet(data).default_text(DC, "description") == "Rex awoke."
        assert Packet(data).items(MYVLM, "Subjects") == ["Anna", "Rex"]
