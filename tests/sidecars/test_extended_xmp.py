"""Extended XMP: words that did not fit into a JPEG's main packet are kept, or the photo is left alone."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.core.errors import SidecarError
from engine.core.notes import Note, NoteCode
from engine.photos.metadata.embedded import Embedded, read_embedded
from engine.photos.metadata.xmp import EXTENDED_MARK as MARK
from engine.photos.metadata.xmp import ExtendedPart, assemble, read_part
from engine.photos.photo_file import PhotoFile
from engine.sidecars.merge.new_sidecar import embedded_keywords, find_user_description, start_packet
from engine.sidecars.rdf.forms import DC
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.xmp import merge_content
from tests.photo_files import corners, encoded, guid_of, jpeg_with
from tests.photo_files import extended_xmp as split
from tests.sidecars.test_fuzz import mutate_bytes
from tests.sidecars.xmp_oracles import NOW, WORDS, array, block, description, graph, wrap

NOTE = 'xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
OURS = description("Our own words") + array("dc:subject", "family")


def main_packet(packet, inner="", guid=None):
    named = f"<xmpNote:HasExtendedXMP>{(guid or guid_of(packet)).decode()}</xmpNote:HasExtendedXMP>"
    return wrap(block(inner + named, NOTE), spaces=NOTE)


def jpeg(main, contents):
    return jpeg_with(encoded(corners(), "JPEG", xmp=main), *((0xE1, c) for c in contents))


def embedded_in(data):
    return read_embedded(PhotoFile(Path("a.jpg"), data, "0"))


def seeded(main, contents):
    return start_packet(embedded_in(jpeg(main, contents)))[0]


LONG = wrap(block(OURS + "".join(f"<dc:relation>{k:0200}</dc:relation>" for k in range(1))))
SHAPES = {
    "one part": lambda p: split(p),
    "many parts": lambda p: split(p, 100),
    "out of order": lambda p: split(p, 100)[::-1],
    "a part twice": lambda p: [*split(p, 100), split(p, 100)[2]],
    "left over from another version": lambda p: [*split(wrap("<a/>")), *split(p, 100)],
    "small letters": lambda p: split(p, 100, guid_of(p).lower()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_extended_words_are_in_the_new_sidecar(shape):
    packet = seeded(main_packet(LONG, "<xmp:Rating>4</xmp:Rating>"), SHAPES[shape](LONG))
    assert packet.default_text(DC, "description") == "Our own words"
    assert packet.items(DC, "subject") == ["family"]
    assert packet.text(SPACE_XMP, "Rating") == "4"
    assert b"HasExtendedXMP" not in packet.serialise()
    embedded = embedded_in(jpeg(main_packet(LONG), SHAPES[shape](LONG)))
    merge = merge_content(None, WORDS, NOW, embedded=embedded)
    assert Note(NoteCode.KEPT_DESCRIPTION) in merge.notes
    assert Packet(merge.data).items(DC, "subject") == ["family", "Anna", "Rex"]


SPACE_XMP = "http://ns.adobe.com/xap/1.0/"


def test_the_graph_is_that_of_both_packets():
    inner = "<xmp:Rating>4</xmp:Rating>" + array("digiKam:TagsList", "People/Anna", kind="Seq")
    both = seeded(main_packet(LONG, inner), split(LONG, 100)).serialise()
    assert graph(both) == graph(wrap(block(inner))) | graph(LONG)


def broken(change):
    contents = split(LONG, 100)
    change(contents)
    return contents


FAULTS = {
    "first part missing": lambda c: c.pop(0),
    "part missing": lambda c: c.pop(2),
    "last part missing": lambda c: c.pop(),
    "a byte changed": lambda c: c.__setitem__(1, c[1][:-1] + b"#"),
    "another length": lambda c: c.__setitem__(1, c[1][: len(MARK) + 32] + b"\0\0\0\1" + c[1][len(MARK) + 36 :]),
    "a length of 4 GB": lambda c: c.__setitem__(slice(None), [x[:67] + b"\xff" * 4 + x[71:] for x in c]),
    "a part of another text": lambda c: c.append(c[2][:-1] + b"#"),
    "overlap": lambda c: c.__setitem__(1, c[1][: len(MARK) + 36] + b"\0\0\0\x63" + c[1][len(MARK) + 40 :]),
    "only another version": lambda c: c.__setitem__(slice(None), split(wrap("<a/>"))),
    "a part cut short": lambda c: c.__setitem__(1, c[1][:70]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_incomplete_or_damaged_is_left_alone(fault):
    embedded = embedded_in(jpeg(main_packet(LONG), broken(FAULTS[fault])))
    with pytest.raises(SidecarError, match="Extended XMP"):
        merge_content(None, WORDS, NOW, embedded=embedded)
    for use in (lambda: find_user_description(embedded, None), lambda: embedded_keywords(embedded)):
        with pytest.raises(SidecarError, match="Extended XMP"):
            use()


BAD_XML = {
    "not XML": b"<x:xmpmeta",
    "no XMP": b"<html/>",
    "a DOCTYPE": wrap(block(OURS), "<!DOCTYPE x [<!ENTITY a 'b'>]>"),
    "another description": wrap(block(description("Something else"))),
    "too large": wrap(block(f"<dc:title>{'- ' * (17 * 2**20)}</dc:title>")),
}


@pytest.mark.parametrize("packet", BAD_XML.values(), ids=BAD_XML)
def test_what_cannot_be_merged_is_left_alone(packet):
    with pytest.raises(SidecarError, match="Extended XMP cannot be used"):
        seeded(main_packet(packet, description("Main words")), split(packet))


def test_more_than_the_limit_is_not_read():
    packet = b"<" * (65 * 2**20)
    with pytest.raises(SidecarError, match="larger than 64 MiB"):
        seeded(main_packet(packet), split(packet))


def test_what_both_packets_say_is_there_once():
    words = description("Our own words") + "<xmp:Rating>4</xmp:Rating>"
    extended = wrap(block(words + array("dc:subject", "family", "Ida")))
    packet = seeded(main_packet(extended, words + array("dc:subject", "home", "family")), split(extended))
    assert packet.items(DC, "subject") == ["home", "family", "Ida"]
    assert len(packet.find_all(DC, "description")) == len(packet.find_all(SPACE_XMP, "Rating")) == 1


def test_pictures_in_extended_xmp_stay_in_the_photo():
    depth = 'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/"'
    data = "A" * 12_000_000
    attributes = f'{depth} GDepth:Data="{data}" GDepth:Mime="image/png"'
    for packet in (wrap(block(OURS, attributes)), wrap(block(f"{OURS}<GDepth:Data>{data}</GDepth:Data>", depth))):
        sidecar = seeded(main_packet(packet), split(packet)).serialise()
        assert b"Our own words" in sidecar
        assert len(sidecar) < 2000
        assert b"GDepth:Data" not in sidecar


def test_a_name_without_any_extended_xmp_is_a_note():
    packet, notes = start_packet(Embedded(xmp=main_packet(LONG, description("Main words"))))
    assert packet.default_text(DC, "description") == "Main words"
    assert "not in the file" in str(notes[0])


def test_extended_xmp_that_is_not_named_is_left_over():
    embedded = embedded_in(jpeg(wrap(block(description("Main words"))), split(LONG)))
    assert start_packet(embedded)[0].items(DC, "subject") == []


def test_other_subjects_and_attributes():
    extended = LONG.replace(b'rdf:about=""', b'rdf:about="uuid:1"')
    main = main_packet(extended).replace(b'rdf:about=""', b'rdf:about="uuid:2"')
    assert b"uuid:1" not in seeded(main, split(extended)).serialise()


@pytest.mark.parametrize("size", [70_000, 300_000])
def test_what_exiftool_splits_is_read(tmp_path, size):
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path, text = tmp_path / "a.jpg", tmp_path / "text"
    words = "Our summer at the lake. " * (size // 24)
    text.write_text(words.strip(), "utf-8")
    path.write_bytes(encoded(corners(), "JPEG"))
    given = [f"-XMP-dc:Description<={text}", "-XMP-dc:Subject=family", "-XMP-xmp:Rating=3"]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *given, str(path)], check=True)
    embedded = embedded_in(path.read_bytes())
    assert embedded.extended
    assert not any(e.fault for e in embedded.extended)
    (tmp_path / "a.xmp").write_bytes(start_packet(embedded)[0].serialise())
    command = ["exiftool", "-j", "-G1", "-XMP:all", str(path), str(tmp_path / "a.xmp")]
    photo, sidecar = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    kept = {k: v for k, v in photo.items() if k.startswith("XMP-") and "xmpNote" not in k and k != "XMP-x:XMPToolkit"}
    assert kept
    assert kept.items() <= sidecar.items()


def mutate(rng, parts):
    for _ in range(rng.choice((0, 1, 1, 2))):
        k = rng.randrange(len(parts))
        kind = rng.randrange(7)
        content = bytearray(parts[k]) or bytearray(b" ")
        if kind == 0:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[rng.randrange(len(content)) :]
        elif kind == 2:
            parts.append(bytes(content))
        elif kind == 3 and len(parts) > 1:
            parts.pop(k)
            continue
        elif kind == 4:
            rng.shuffle(parts)
            continue
        elif kind == 5:
            content += b" "
        else:
            content[len(MARK) + 32 : len(MARK) + 40] = rng.randbytes(8)
        parts[k] = bytes(content)
    return parts


def look(seed):
    """Whatever parts are given: each packet is the one whose checksum is its GUID, or has a fault that says why."""
    rng = random.Random(seed)
    packet = rng.choice((LONG, wrap(block(OURS)), b"x", rng.randbytes(rng.randrange(1, 900))))
    contents = mutate(rng, split(packet, rng.choice((1, 7, 100, 65_400)) if len(packet) < 300 else 100))
    whole = 0
    for found in assemble(p for p in map(read_part, contents) if p is not None):
        assert bool(found.data) != bool(found.fault)
        if found.data:
            assert found.data == packet
            whole += 1
    return whole


def test_damaged_parts():
    whole = sum(look(f"few-{n}") for n in range(2000))
    assert 400 < whole < 1800


@pytest.mark.fuzz
def test_damaged_parts_at_length():
    for n in range(200_000):
        look(f"many-{n}")


def test_no_parts_and_empty_parts():
    assert assemble(()) == ()
    assert read_part(MARK) is None
    assert read_part(b"http://ns.adobe.com/xap/1.0/\0") is None
    (empty,) = assemble([ExtendedPart("0" * 32, 0, 0, b"")])
    assert empty.fault


def look_at_merge(seed):
    """An extended packet of any bytes: refused, or merged so that the main packet's words and the rest can be read."""
    rng = random.Random(seed)
    other = rng.choice(
        (LONG, wrap(block(array("digiKam:TagsList", "a/b", kind="Seq"), 'xml:lang="de" xmp:Rating="3"')))
    )
    extended = mutate_bytes(rng, rng.choice((LONG, other)), other)
    inner = rng.choice(("", "<xmp:Rating>4</xmp:Rating>")) + description("Main words", name="dc:title")
    guid = guid_of(extended)
    parts = assemble(read_part(c) for c in split(extended, 100, guid))
    try:
        packet, _ = start_packet(Embedded(xmp=main_packet(extended, inner), extended=parts))
    except SidecarError:
        return False
    assert packet.default_text(DC, "title") == "Main words"
    assert "Rating" not in inner or packet.text(SPACE_XMP, "Rating") == "4"
    assert Packet(packet.serialise()).serialise() == packet.serialise()
    return True


def test_extended_packets_of_any_bytes():
    merged = sum(look_at_merge(f"few-{n}") for n in range(300))
    assert 20 < merged < 290


@pytest.mark.fuzz
def test_extended_packets_of_any_bytes_at_length():
    for n in range(20_000):
        look_at_merge(f"many-{n}")
