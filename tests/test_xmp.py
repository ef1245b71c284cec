import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SidecarError
from engine.sidecars.namespaces import DC, MYVLM
from engine.sidecars.packet import Packet
from engine.sidecars.xmp import TOUCHED, Words, is_current, merge_words, write_words, xmp_path

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
WORDS = Words("Rex is sleeping on Anna's sofa.", ("Anna", "Rex"), ("Anna",), ("ab12@1", "cd34@2"), "vlm@1", "d1g3st")


def wrap(inner: str, head: str = "") -> bytes:
    return (
        f'{head}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">{inner}</rdf:RDF></x:xmpmeta>'
    ).encode()


def description(text: str, lang: str = "x-default") -> str:
    return f'<dc:description><rdf:Alt><rdf:li xml:lang="{lang}">{text}</rdf:li></rdf:Alt></dc:description>'


def test_a_new_sidecar_holds_our_words():
    packet = Packet(merge_words(None, WORDS, NOW).data)
    assert packet.default_text(DC, "description") == WORDS.caption
    assert packet.items(DC, "subject") == ["Anna", "Rex"]
    assert packet.items("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "PersonInImage") == ["Anna"]
    assert packet.text(MYVLM, "VLM") == "vlm@1"


def test_a_second_merge_changes_nothing():
    first = merge_words(None, WORDS, NOW).data
    assert merge_words(first, WORDS, datetime(2027, 1, 1, tzinfo=UTC)).data is None


@pytest.mark.parametrize(
    "existing",
    [
        wrap(f'<rdf:Description rdf:about="">{description("Our summer")}</rdf:Description>'),
        wrap('<rdf:Description rdf:about="" dc:description="Our summer"/>'),
        wrap(
            '<rdf:Description rdf:about=""/><rdf:Description rdf:about="">'
            f"{description('Our summer', 'de')}</rdf:Description>"
        ),
        wrap('<rdf:Description rdf:about=""><dc:description>Our summer</dc:description></rdf:Description>'),
    ],
)
def test_a_humans_description_is_never_touched(existing):
    merge = merge_words(existing, WORDS, NOW)
    packet = Packet(merge.data)
    assert packet.default_text(DC, "description") == "Our summer"
    assert WORDS.caption.encode() not in merge.data
    assert b"Our summer" in merge.data
    assert "kept the description" in merge.notes[0]
    assert packet.items(DC, "subject") == ["Anna", "Rex"]


def test_an_edited_caption_belongs_to_its_editor():
    ours = merge_words(None, WORDS, NOW).data
    edited = ours.replace(b"Rex is sleeping on Anna's sofa.", b"Rex asleep, finally!")
    later = Words("Rex is awake.", ("Rex",), (), ("cd34@3",), "vlm@2", "d2")
    merged = merge_words(edited, later, NOW).data
    assert b"Rex asleep, finally!" in merged
    assert b"Rex is awake" not in merged


def test_our_own_caption_and_terms_are_brought_up_to_date():
    ours = merge_words(
        wrap(
            '<rdf:Description rdf:about=""><dc:subject><rdf:Bag><rdf:li>holiday</rdf:li><rdf:li>Rex</rdf:li></rdf:Bag>'
            "</dc:subject></rdf:Description>"
        ),
        WORDS,
        NOW,
    ).data
    later = Words("A dog.", (), (), (), "vlm@1", "d1")
    packet = Packet(merge_words(ours, later, NOW).data)
    assert packet.default_text(DC, "description") == "A dog."
    assert packet.items(DC, "subject") == ["holiday", "Rex"], (
        "Anna was ours and goes; Rex was there before us and stays"
    )
    assert packet.items("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "PersonInImage") == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "well-formed"),
        (b"<x:xmpmeta", "well-formed"),
        (b"<html><body/></html>", "no rdf:RDF"),
        (wrap("", "<!DOCTYPE x [<!ENTITY a 'b'>]>"), "DOCTYPE"),
        (wrap("").decode().encode("utf-16"), "encoded"),
        (wrap("", '<?xml version="1.0" encoding="iso-8859-1"?>'), "encoded"),
    ],
)
def test_dangerous_and_foreign_files_are_refused(data, why):
    with pytest.raises(SidecarError, match=why):
        merge_words(data, WORDS, NOW)


def test_entities_are_not_expanded(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("password")
    bomb = wrap("<rdf:Description/>", f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{secret}">]>')
    with pytest.raises(SidecarError):
        merge_words(bomb, WORDS, NOW)


def graph(data: bytes):
    """The foreign triples of an XMP packet, by rdflib: an oracle that shares no code with ours."""
    import rdflib
    from lxml import etree
    from rdflib.compare import to_canonical_graph

    root = etree.fromstring(data)
    rdf = root if root.tag.endswith("}RDF") else next(e for e in root if str(e.tag).endswith("}RDF"))
    found = rdflib.Graph()
    found.parse(data=etree.tostring(rdf), format="xml", publicID="urn:photo")
    ours = {rdflib.URIRef(ns + name) for ns, name in TOUCHED}
    for triple in list(found):
        if triple[1] in ours:
            drop(found, triple)
    return {t for t in to_canonical_graph(found) if t[1] not in ours}


def drop(g, triple):
    import rdflib

    g.remove(triple)
    if isinstance(triple[2], rdflib.BNode):
        for below in list(g.triples((triple[2], None, None))):
            drop(g, below)


def test_real_sidecars_keep_every_foreign_property(shared):
    files = sorted((shared / "sidecars").glob("*.xmp"))
    assert len(files) == 28
    for file in files:
        before = file.read_bytes()
        merged = merge_words(before, WORDS, NOW).data
        assert graph(merged) == graph(before), file.name
        assert merge_words(merged, WORDS, NOW).data is None, file.name


NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=30)


@st.composite
def packets(draw):
    from xml.sax.saxutils import escape, quoteattr

    blocks = []
    for k in range(draw(st.integers(0, 3))):
        space = f'xmlns:n{k}="http://example.org/{draw(NAME)}/"'
        names = draw(st.lists(NAME, unique=True, max_size=5))
        attributes, children = "", ""
        for name in names:
            form = draw(st.sampled_from(("attribute", "text", "Bag", "Seq", "Alt", "struct")))
            value = draw(TEXT)
            if form == "attribute":
                attributes += f" n{k}:{name}={quoteattr(value)}"
            elif form == "text":
                children += f"<n{k}:{name}>{escape(value)}</n{k}:{name}>"
            elif form == "struct":
                children += f'<n{k}:{name} rdf:parseType="Resource"><n{k}:in>{escape(value)}</n{k}:in></n{k}:{name}>'
            else:
                entries = "".join(f"<rdf:li>{escape(v)}</rdf:li>" for v in draw(st.lists(TEXT, max_size=3)))
                children += f"<n{k}:{name}><rdf:{form}>{entries}</rdf:{form}></n{k}:{name}>"
        if draw(st.booleans()):
            subjects = "".join(f"<rdf:li>{escape(v)}</rdf:li>" for v in draw(st.lists(TEXT, max_size=3)))
            children += f"<dc:subject><rdf:Bag>{subjects}</rdf:Bag></dc:subject>" if k == 0 else ""
        gap = draw(st.sampled_from(("", "\n", "\n   ")))
        blocks.append(
            f'{gap}<rdf:Description rdf:about="" {space}{attributes}>{gap}{children}{gap}</rdf:Description>{gap}'
        )
    head = draw(
        st.sampled_from(("", "\ufeff", '<?xml version="1.0" encoding="UTF-8"?>\n', '<?xpacket begin="" id="W5M0"?>\n'))
    )
    return wrap("".join(blocks), head)


@settings(max_examples=150, deadline=None)
@given(packets())
def test_any_packet_keeps_every_foreign_property(data):
    merged = merge_words(data, WORDS, NOW).data
    assert graph(merged) == graph(data)
    assert merge_words(merged, WORDS, NOW).data is None
    packet, old = Packet(merged), Packet(data)
    assert packet.items(DC, "subject")[: len(old.items(DC, "subject"))] == old.items(DC, "subject")


def test_writing_keeps_mode_and_follows_links(tmp_path):
    photo = tmp_path / "a.jpg"
    real = tmp_path / "elsewhere.xmp"
    real.write_bytes(wrap('<rdf:Description rdf:about="" xmp:Rating="5"/>'))
    real.chmod(0o640)
    xmp_path(photo).symlink_to(real)
    path, merge = write_words(photo, WORDS, NOW, embedded=None)
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert b'Rating="5"' in real.read_bytes()
    assert merge.data == real.read_bytes()
    assert is_current(photo)
    assert [p.name for p in tmp_path.iterdir()].count("a.jpg.xmp") == 1
    assert not [p for p in tmp_path.iterdir() if "tmp" in p.name]


def test_a_new_sidecar_starts_from_the_embedded_packet(tmp_path):
    photo = tmp_path / "a.jpg"
    embedded = wrap(
        '<rdf:Description rdf:about="" xmp:Rating="4">' + description("Grandma wrote this") + "</rdf:Description>"
    )
    write_words(photo, WORDS, NOW, embedded=embedded)
    data = xmp_path(photo).read_bytes()
    assert b'Rating="4"' in data
    assert b"Grandma wrote this" in data
    assert WORDS.caption.encode() not in data


def test_a_dropped_block_is_not_current(tmp_path):
    photo = tmp_path / "a.jpg"
    xmp_path(photo).write_bytes(wrap(f'<rdf:Description rdf:about="">{description("x")}</rdf:Description>'))
    assert not is_current(photo)


def test_an_unreadable_folder_is_one_clear_error(tmp_path):
    if os.geteuid() == 0:
        photo = tmp_path / "no" / "folder" / "a.jpg"
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        photo = tmp_path / "locked" / "a.jpg"
    with pytest.raises(SidecarError) as err:
        write_words(photo, WORDS, NOW, embedded=None)
    assert "a.jpg" in str(err.value)


def test_a_term_that_a_human_took_out_stays_out():
    both = merge_words(None, WORDS, NOW).data
    edited = both.replace(b"<rdf:li>Rex</rdf:li>", b"", 1)
    assert Packet(edited).items(DC, "subject") == ["Anna"]
    again = merge_words(edited, replace(WORDS, caption="Another caption."), NOW).data
    assert Packet(again).items(DC, "subject") == ["Anna"]


def test_an_empty_description_in_attribute_form_is_filled_once():
    existing = merge_words(None, WORDS, NOW).data
    packet = Packet(existing)
    packet.remove(DC, "description")
    packet.blocks()[0].set(f"{{{DC}}}description", "")
    once = merge_words(packet.serialise(), WORDS, NOW).data
    assert Packet(once).default_text(DC, "description") == WORDS.caption
    assert merge_words(once, WORDS, NOW).data is None


def test_embedded_metadata_that_cannot_be_read_is_not_hidden_by_a_sidecar(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"x")
    with pytest.raises(SidecarError, match="embedded metadata is damaged"):
        write_words(photo, WORDS, NOW, embedded=b"<x:xmpmeta")
    assert not xmp_path(photo).exists()
    embedded = (
        merge_words(None, replace(WORDS, caption="Grandma 80"), NOW).data.replace(
            MYVLM.encode(), b"http://example.com/other/"
        )
        + b"\0"
    )
    write_words(photo, WORDS, NOW, embedded=embedded)
    assert b"Grandma 80" in xmp_path(photo).read_bytes()


def test_what_cannot_be_xml_is_an_error_of_that_photo(tmp_path):
    with pytest.raises(SidecarError):
        write_words(tmp_path / "a.jpg", replace(WORDS, caption="a \x01 b"), NOW, embedded=None)
