"""Merging our words into sidecars: what is ours is kept up to date, what is not ours is not touched."""

from dataclasses import replace

import pytest

from engine.core.errors import SidecarError
from engine.core.notes import Note, NoteCode
from engine.photos.metadata.embedded import Embedded
from engine.sidecars.merge.automatic import is_automatic
from engine.sidecars.rdf.forms import DC, DIGIKAM, IPTC_EXT, LIGHTROOM, MYVLM, TIFF
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import NamedRegion, read_regions
from engine.sidecars.xmp import Policy, merge_content, needs_embedded, read_xmp_status, remove_content, restore
from tests.sidecars.other_programs import darktable
from tests.sidecars.xmp_oracles import LATER, NOW, WORDS, array, assert_kept, block, description, graph, merging, wrap

OTHER = replace(WORDS, caption="A dog.", names=(), people=(), hierarchy=(), concepts=(), vlm="vlm@2")
JUNK = "OLYMPUS DIGITAL CAMERA         "


def merged(existing, words=WORDS, **more):
    return merging(existing, words, NOW, **more).data


def subjects(data):
    return Packet(data).items(DC, "subject")


def test_a_new_sidecar_holds_our_words():
    packet = Packet(merged(None))
    assert packet.default_text(DC, "description") == WORDS.caption
    assert packet.items(DC, "subject") == ["Anna", "Rex"]
    assert packet.items(IPTC_EXT, "PersonInImage") == ["Anna"]
    assert packet.text(MYVLM, "VLM") == "vlm@1"
    assert packet.find(DIGIKAM, "TagsList") is None, "nobody looked what the photo itself has"
    assert packet.find(LIGHTROOM, "hierarchicalSubject") is None


def test_a_second_merge_changes_nothing():
    first = merged(None)
    assert merging(first, replace(WORDS, run="run 2"), LATER).data is None


def test_run_and_date_are_written_only_with_something_else():
    first = merged(None, replace(WORDS, run="r1"))
    assert read_xmp_status(first).run == "r1"
    assert b"2026-11-21T12:00:00+00:00" in first
    second = merging(first, replace(OTHER, run="r2"), LATER).data
    assert read_xmp_status(second).run == "r2"
    assert b"2027-01-01T00:00:00+00:00" in second
    assert second.count(b"MetadataDate>") == 2


@pytest.mark.parametrize(
    "existing",
    [
        wrap(block(description("Our summer"))),
        wrap('<rdf:Description rdf:about="" dc:description="Our summer"/>'),
        wrap(block() + block(description("Our summer", "de"))),
        wrap(block("<dc:description>Our summer</dc:description>")),
        wrap(block('<dc:description xml:lang="de">Our summer</dc:description>')),
        wrap(block("<dc:description><rdf:Bag><rdf:li>Our summer</rdf:li></rdf:Bag></dc:description>")),
        wrap(block('<dc:description rdf:parseType="Resource"><rdf:value>Our summer</rdf:value></dc:description>')),
        wrap(block('<dc:description><rdf:Description rdf:value="Our summer"/></dc:description>')),
        wrap(block("<dc:description>Our<!-- hot --> summer</dc:description>").replace("<!-- hot -->", "")),
        wrap(block(description("") + "<dc:description>Our summer</dc:description>")),
    ],
)
def test_a_humans_description_is_never_touched(existing):
    merge = merging(existing, WORDS, NOW)
    assert WORDS.caption.encode() not in merge.data
    assert b"Our summer" in merge.data
    assert "kept the description" in str(merge.notes[0])
    assert subjects(merge.data) == ["Anna", "Rex"]
    assert read_xmp_status(merge.data).caption == "kept"
    assert_kept(existing, merge.data)
    assert merged(merge.data) is None


def test_replace_all_replaces_a_humans_description_and_keeps_it_in_our_block():
    existing = wrap(block(description("Our summer")))
    data = merged(existing, policy=Policy(replace_all=True))
    assert Packet(data).default_text(DC, "description") == WORDS.caption
    assert read_xmp_status(data).caption == "ours"
    assert merged(data, policy=Policy(replace_all=True)) is None
    assert Packet(remove_content(data)).default_text(DC, "description") == "Our summer"
    german = merged(wrap(block(description("Unser Sommer", "de"))), policy=Policy(replace_all=True))
    assert b"Unser Sommer" in german
    assert Packet(german).default_text(DC, "description") == WORDS.caption


def test_the_text_that_we_replaced_outlives_a_program_that_drops_ours():
    ours = merged(wrap(block(description("Our summer"))), policy=Policy(replace_all=True))
    again = merged(darktable(ours), policy=Policy(replace_all=True))
    assert Packet(again).default_text(DC, "description") == WORDS.caption
    assert Packet(remove_content(again)).default_text(DC, "description") == "Our summer"


def test_what_comes_back_is_only_what_was_replaced():
    german = '<rdf:li xml:lang="de">Unser Sommer</rdf:li>'
    existing = wrap(block(description("").replace("</rdf:Alt>", f"{german}</rdf:Alt>")))
    data = merged(existing, policy=Policy(replace_all=True))
    assert remove_content(data).count(b"Unser Sommer") == 1


def test_the_marked_default_text_counts_before_one_without_a_language():
    items = '<rdf:li>first</rdf:li><rdf:li xml:lang="X-Default">second</rdf:li>'
    existing = wrap(block(f"<dc:description><rdf:Bag>{items}</rdf:Bag></dc:description>"))
    data = merged(existing, policy=Policy(replace_all=True))
    assert merged(data, policy=Policy(replace_all=True)) is None
    assert Packet(remove_content(data)).items(DC, "description") == ["first", "second"]


def test_an_edited_caption_belongs_to_its_editor():
    edited = merged(None).replace(b"Rex is sleeping on Anna's sofa.", b"Rex asleep, finally!")
    later = replace(WORDS, caption="Rex is awake.", names=("Rex",), people=(), settings="d2")
    data = merged(edited, later)
    assert b"Rex asleep, finally!" in data
    assert b"Rex is awake" not in data
    assert read_xmp_status(data).caption == "human"


def test_a_translation_beside_our_caption_stays():
    ours = merged(None)
    both = ours.replace(b"</rdf:Alt>", b'<rdf:li xml:lang="de">Rex schl\xc3\xa4ft.</rdf:li></rdf:Alt>', 1)
    data = merged(both, OTHER)
    assert "Rex schläft.".encode() in data
    assert Packet(data).default_text(DC, "description") == "A dog."
    assert "Rex schläft.".encode() in remove_content(data)


def test_our_own_caption_and_terms_are_brought_up_to_date():
    ours = merged(wrap(block(array("dc:subject", "holiday", "Rex"))))
    data = merged(ours, OTHER)
    assert Packet(data).default_text(DC, "description") == "A dog."
    assert subjects(data) == ["holiday", "Rex"], "Anna was ours and goes; Rex was there before us and stays"
    assert Packet(data).items(IPTC_EXT, "PersonInImage") == []


def test_a_term_that_a_human_took_out_stays_out():
    edited = merged(None).replace(b"<rdf:li>Rex</rdf:li>", b"", 1)
    assert subjects(edited) == ["Anna"]
    again = merged(edited, replace(WORDS, caption="Another caption."))
    assert subjects(again) == ["Anna"]
    without = merged(wrap(block(array("dc:subject", "home"))))
    without = without.replace(b"<rdf:li>Rex</rdf:li>", b"", 1)
    gone = merged(without, OTHER)
    assert subjects(merged(gone, WORDS)) == ["home", "Anna"], "also after it did not hold for a while"


def test_spellings_that_differ_in_unicode_form_are_one_term():
    existing = wrap(block(array("dc:subject", "Zoe\u0308", " Rex ")))
    words = replace(WORDS, names=("Zoë", "Rex"), people=())
    data = merged(existing, words)
    assert subjects(data) == ["Zoe\u0308", " Rex "]
    assert subjects(merged(data, OTHER)) == ["Zoe\u0308", " Rex "]


def test_an_empty_description_in_attribute_form_is_filled_once():
    once = merged(wrap('<rdf:Description rdf:about="" dc:description="" dc:subject=""/>'))
    assert Packet(once).default_text(DC, "description") == WORDS.caption
    assert subjects(once) == ["Anna", "Rex"]
    assert merged(once) is None


@pytest.mark.parametrize(
    "odd",
    [
        "<dc:subject>holiday</dc:subject>",
        '<dc:subject rdf:resource="urn:x"/>',
        '<dc:subject rdf:parseType="Resource"><xmp:a>b</xmp:a></dc:subject>',
        '<dc:subject><rdf:Bag rdf:_1="holiday"/></dc:subject>',
        "<dc:subject><rdf:Bag><rdf:_1>holiday</rdf:_1></rdf:Bag></dc:subject>",
    ],
)
def test_a_keyword_list_of_an_unusual_form_is_left_alone_and_told(odd):
    existing = wrap(block(odd))
    merge = merging(existing, WORDS, NOW)
    assert "could not add Anna, Rex: dc:subject" in str(merge.notes[0])
    assert graph(remove_content(merge.data), shared=True) == graph(existing, shared=True)
    assert merged(merge.data) is None


def test_items_with_qualifiers_count_and_are_never_removed():
    item = '<rdf:li rdf:parseType="Resource"><rdf:value>Rex</rdf:value><xmp:Note>mine</xmp:Note></rdf:li>'
    existing = wrap(block(f"<dc:subject><rdf:Bag>{item}</rdf:Bag></dc:subject>"))
    data = merged(existing)
    assert subjects(data) == ["Rex", "Anna"]
    later = merged(data.replace(b"<rdf:li>Anna</rdf:li>", b'<rdf:li xml:lang="en">Anna</rdf:li>', 1), OTHER)
    assert subjects(later) == ["Rex", "Anna"], "somebody made it theirs"


def test_keywords_in_several_blocks_are_all_seen():
    existing = wrap(block(array("dc:subject", "Rex")) + block(array("dc:subject", "holiday")))
    data = merged(existing)
    assert subjects(data) == ["Rex", "Anna", "holiday"]
    assert_kept(existing, data)


class TestImageDescription:
    """Immich reads tiff:ImageDescription before dc:description."""

    def test_camera_junk_in_the_photo_gets_our_caption_before_it(self):
        data = merged(None, embedded=Embedded(exif_description=JUNK))
        packet = Packet(data)
        assert packet.default_text(TIFF, "ImageDescription") == WORDS.caption
        assert packet.default_text(DC, "description") == WORDS.caption
        assert JUNK.strip().encode() not in data
        assert merged(data) is None, "without looking at the photo again"
        assert merged(data, embedded=Embedded(exif_description=JUNK)) is None

    @pytest.mark.parametrize("existing", [description(JUNK, name="tiff:ImageDescription"), description(JUNK)])
    def test_camera_junk_in_the_sidecar_is_replaced_and_comes_back(self, existing):
        before = wrap(block(existing))
        data = merged(before)
        assert Packet(data).default_text(DC, "description") == WORDS.caption
        assert Packet(data).default_text(TIFF, "ImageDescription") in (None, WORDS.caption)
        updated = merged(data, OTHER)
        assert updated.count(b">A dog.<") == (2 if b"tiff:" in before else 1)
        assert graph(remove_content(updated), shared=True) == graph(before, shared=True)

    def test_a_humans_text_stays(self):
        before = wrap(block(description("Grandma, 1980", name="tiff:ImageDescription")))
        data = merged(before, embedded=Embedded(exif_description=JUNK))
        assert Packet(data).default_text(TIFF, "ImageDescription") == "Grandma, 1980"
        assert Packet(data).default_text(DC, "description") == WORDS.caption

    def test_the_mirror_of_our_caption_follows_a_humans_edit(self):
        data = merged(None, embedded=Embedded(exif_description=JUNK))
        edited = data.replace(WORDS.caption.encode(), b"Our sofa", 1)
        packet = Packet(merged(edited))
        assert packet.default_text(DC, "description") == "Our sofa"
        assert packet.default_text(TIFF, "ImageDescription") == "Our sofa"
        assert merged(packet.serialise()) is None

    def test_a_program_that_copied_our_caption_there_is_followed(self):
        data = merged(None)
        copied = data.replace(
            b"<dc:description>",
            f'<t:ImageDescription xmlns:t="{TIFF}">{WORDS.caption}</t:ImageDescription><dc:description>'.encode(),
            1,
        )
        assert Packet(merged(copied, OTHER)).default_text(TIFF, "ImageDescription") == "A dog."

    @pytest.mark.parametrize(
        "text",
        [
            *(JUNK, "SONY DSC", "sony dsc", "DCIM\\100MEDIA\\DJI_0001.JPG", "DCIM\\100GOPRO", "Exif_JPEG_PICTURE"),
            *("KONICA MINOLTA DIGITAL CAMERA", "MINOLTA DIGITAL CAMERA", "SAMSUNG CAMERA PICTURES", "oznor", "rhdr"),
            *("<Digimax S600 / Kenox S600 / Digimax Cyber 630>", "<KENOX S760  / Samsung S760>", "binary comment"),
            *("charset=Ascii", 'charset="Ascii" SONY DSC', "DIGITAL CAMERA", "KODAK DIGITAL STILL CAMERA", "cof"),
        ],
    )
    def test_camera_junk(self, text):
        assert is_automatic(text)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "Untitled", "My new digital camera", "Dav", "Mon", "SONY DSC at the beach", "Samsung factory, 2004"),
            *("DCIM holiday", "Burst", "Rex with the old Olympus digital camera", "charset=Ascii Grandma", "Photo"),
        ],
    )
    def test_what_a_human_may_have_written(self, text):
        assert not is_automatic(text)


class TestHierarchy:
    """lr:hierarchicalSubject and digiKam:TagsList."""

    def test_both_are_kept_up_to_date_where_they_are(self):
        existing = wrap(
            block(
                array("dc:subject", "Rome")
                + array("lr:hierarchicalSubject", "Places|Rome")
                + array("digiKam:TagsList", "Places/Rome", kind="Seq")
            )
        )
        data = merged(existing)
        assert Packet(data).items(LIGHTROOM, "hierarchicalSubject") == ["Places|Rome", "People|Anna", "Pets|Rex"]
        assert Packet(data).items(DIGIKAM, "TagsList") == ["Places/Rome", "People/Anna", "Pets/Rex"]
        assert_kept(existing, data)
        gone = merged(data, OTHER)
        assert Packet(gone).items(LIGHTROOM, "hierarchicalSubject") == ["Places|Rome"]
        assert Packet(gone).items(DIGIKAM, "TagsList") == ["Places/Rome"]

    def test_a_tag_in_the_users_own_tree_is_not_doubled(self):
        existing = wrap(block(array("lr:hierarchicalSubject", "Family|Anna")))
        assert Packet(merged(existing)).items(LIGHTROOM, "hierarchicalSubject") == ["Family|Anna", "Pets|Rex"]

    def test_one_that_we_begin_hides_none_of_the_users_keywords(self):
        existing = wrap(block(array("dc:subject", "holiday", "Rex")))
        asked = Policy(hierarchy=True)
        data = merged(existing, policy=asked)
        assert Packet(data).items(LIGHTROOM, "hierarchicalSubject") == ["holiday", "People|Anna", "Pets|Rex"]
        assert merged(data) is None, "it is kept up to date without being asked for again"
        assert Packet(merged(data, OTHER)).find(LIGHTROOM, "hierarchicalSubject") is None
        assert graph(remove_content(data), shared=True) == graph(existing, shared=True)

    def test_a_seeded_new_sidecar_gets_a_tags_list_with_everything(self):
        embedded = Embedded(xmp=wrap(block(array("dc:subject", "holiday"))))
        data = merged(None, embedded=embedded)
        assert Packet(data).items(DIGIKAM, "TagsList") == ["holiday", "People/Anna", "Pets/Rex"]
        assert b"<digiKam:TagsList>\n        <rdf:Seq>" in data
        head, tail = data.split(b"<digiKam:TagsList>")
        theirs = (
            head + b"<digiKam:TagsList>" + tail.replace(b"</rdf:Seq>", b"<rdf:li>Places/Rome</rdf:li></rdf:Seq>", 1)
        )
        later = Packet(merged(theirs, replace(WORDS, caption="Another.")))
        assert later.items(DIGIKAM, "TagsList") == ["holiday", "People/Anna", "Pets/Rex", "Places/Rome"]


class TestRegions:
    """The regions are written by regions.py; here: that a merge uses and checks it."""

    FACE = (NamedRegion("Anna", 0.5, 0.4, 0.2, 0.3),)
    THEIRS = (
        '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag><rdf:li rdf:parseType="Resource">'
        '<mwg-rs:Area a:x="0.1" a:y="0.1" a:w="0.1" a:h="0.1" a:unit="normalized" '
        'xmlns:a="http://ns.adobe.com/xmp/sType/Area#"/><mwg-rs:Name>Ben</mwg-rs:Name></rdf:li></rdf:Bag>'
        "</mwg-rs:RegionList></mwg-rs:Regions>"
    )

    def test_regions_are_added_and_taken_out_again(self):
        existing = wrap(block(self.THEIRS))
        words = replace(WORDS, regions=self.FACE, dimensions=(400, 300))
        data = merged(existing, words)
        assert [r.name for r in read_regions(Packet(data))] == ["Ben", "Anna"]
        assert merged(data, words) is None
        assert merged(data) is None, "not asked for: they stay"
        assert [r.name for r in read_regions(Packet(merged(data, replace(words, regions=()))))] == ["Ben"]
        assert graph(remove_content(data)) == graph(existing)


class TestRemoval:
    """Undo and forgetting."""

    def test_nothing_of_ours_changes_nothing(self):
        data = wrap(block(description("Our summer")))
        assert remove_content(data) == data
        assert remove_content(data, frozenset({"Anna"}), frozenset({"ab12"})) == data

    def test_a_sidecar_that_was_ours_alone_may_go(self):
        assert remove_content(merged(None)) is None
        assert remove_content(merged(None, OTHER)) is None

    def test_what_others_wrote_into_ours_stays(self):
        rated = merged(None).replace(b"<xmp:MetadataDate>", b"<xmp:Rating>4</xmp:Rating><xmp:MetadataDate>")
        left = remove_content(rated)
        assert b"Rating>4" in left
        assert b"Anna" not in left
        assert MYVLM.encode() not in left

    def test_a_humans_edit_of_our_caption_stays(self):
        edited = merged(None).replace(WORDS.caption.encode(), b"Anna at home")
        left = remove_content(edited)
        assert Packet(left).default_text(DC, "description") == "Anna at home"
        assert subjects(left) == []

    def test_forgetting_a_name_takes_out_only_what_is_about_it(self):
        data = merged(wrap(block(array("digiKam:TagsList", "Places/Rome", kind="Seq"))))
        left = remove_content(data, frozenset({"anna"}), frozenset({"ab12"}))
        assert b"Anna" not in left
        assert b"ab12" not in left
        packet = Packet(left)
        assert packet.items(DC, "subject") == ["Rex"]
        assert packet.items(DIGIKAM, "TagsList") == ["Places/Rome", "Pets/Rex"]
        assert packet.items(MYVLM, "Concepts") == ["cd34@2"]
        assert packet.default_text(DC, "description") is None

    def test_a_caption_without_the_name_stays(self):
        data = merged(None, replace(WORDS, caption="Annabel sleeps."))
        assert Packet(remove_content(data, frozenset({"Anna"}))).default_text(DC, "description") == "Annabel sleeps."


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the sidecar is empty; delete it"),
        (b"\0" * 512, r"the sidecar is empty \(it holds nothing but NUL bytes\); delete it"),
        (b"\xef\xbb\xbf\r\n", "nothing but blanks"),
        (b"<x:xmpmeta", "well-formed"),
        (b"<html><body/></html>", "no rdf:RDF"),
        (wrap("").replace(b"adobe:ns:meta/", b"urn:icloudpd"), "no rdf:RDF"),
        (wrap("").replace(b"x:xmpmeta", b"x:xml_doc"), "no rdf:RDF"),
        (wrap("", "<!DOCTYPE x [<!ENTITY a 'b'>]>"), "DOCTYPE"),
        (wrap("", "\ufeff<!-- a --><?pi ?>\n <!DOCTYPE x>"), "DOCTYPE"),
        (wrap("", "<?xml version='1.0'?><!DOCTYPE x SYSTEM 'http://localhost/x.dtd'>"), "DOCTYPE"),
        (wrap("").decode().encode("utf-16"), "encoded"),
        (wrap("").decode().encode("utf-16-be"), "encoded"),
        (wrap("").decode().encode("utf-32"), "encoded"),
        (wrap("", '<?xml version="1.0" encoding="iso-8859-1"?>'), "encoded"),
        (wrap("", '<?xml version="1.1"?>'), "XML 1.1"),
        (wrap("") + b"\0\0", "NUL"),
        (wrap(block("<dc:title>\0</dc:title>")), "NUL"),
        (wrap(block("<dc:title>&a;</dc:title>")), "well-formed"),
        (wrap(block("<zz:title/>")), "well-formed"),
        (wrap(block("<dc:a>" * 300 + "</dc:a>" * 300)), "well-formed"),
        (wrap(block("<dc:a>" * 100_000 + "</dc:a>" * 100_000)), "well-formed"),
        (wrap("<rdf:Description rdf:about='uuid:1'/><rdf:Description rdf:about='uuid:2'/>"), "two things"),
        (b" " * 40 * 2**20, "larger"),
        (wrap("<a/>" * 2_100_000), "tags"),
    ],
    ids=lambda v: v if isinstance(v, str) else "data",
)
def test_dangerous_and_foreign_files_are_refused(data, why):
    assert not needs_embedded(data)
    for use in (lambda: merging(data), lambda: read_xmp_status(data), lambda: remove_content(data)):
        with pytest.raises(SidecarError, match=why):
            use()


def test_entities_are_not_expanded_and_do_not_explode(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("password")
    levels = "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))
    for entity in (f'<!ENTITY a SYSTEM "file://{secret}">', f"<!ENTITY a0 'boom'>{levels}"):
        bomb = wrap(block("<dc:title>&a;</dc:title>"), f"<!DOCTYPE x [{entity}]>")
        with pytest.raises(SidecarError, match="DOCTYPE"):
            merging(bomb, WORDS, NOW)


def test_what_cannot_be_xml_is_an_error_of_that_photo():
    with pytest.raises(SidecarError):
        merging(None, replace(WORDS, caption="a \x01 b"), NOW)


def test_a_later_versions_sidecar_is_left_alone():
    newer = merged(None).replace(b"<myvlm:SchemaVersion>2<", b"<myvlm:SchemaVersion>3<")
    for use in (lambda: merging(newer), lambda: read_xmp_status(newer), lambda: restore(newer, None)):
        with pytest.raises(SidecarError, match="newer version"):
            use()


def test_sidecars_of_schema_1_merge_cleanly():
    first = merged(wrap(block(array("dc:subject", "home"))))
    old = first.replace(b"<myvlm:SchemaVersion>2<", b"<myvlm:SchemaVersion>1<")
    data = merged(old)
    assert data == first
    assert subjects(merged(old, OTHER)) == ["home"]


@pytest.mark.parametrize("about", ["", 'rdf:about=""', 'about=""', 'rdf:about="uuid:1"', 'rdf:ID="p"'])
def test_every_way_to_say_what_it_is_about(about):
    existing = wrap(f"<rdf:Description {about}>{array('dc:subject', 'home')}</rdf:Description>")
    data = merged(existing)
    assert merged(data) is None
    abouts = {(b.get("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about") or "") for b in Packet(data).blocks()}
    assert len(abouts) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("head", ["", "\ufeff", '<?xml version="1.0" encoding="UTF-8"?>\n'])
def test_line_ends_byte_order_mark_and_declaration_stay(newline, head):
    text = head + '<?xpacket begin="" id="W5M0"?>\n' + wrap(f"\n{block(array('dc:subject', 'home'))}\n").decode()
    text += '\n<?xpacket end="w"?>\n'
    data = merged(text.replace("\n", newline).encode())
    assert data.count(b"\n") == data.count(newline.encode())
    assert data.startswith(head.replace("\n", newline).encode())
    assert data.rstrip().endswith(b'<?xpacket end="w"?>')
    assert merged(data) is None


def test_our_prefixes_bound_to_other_namespaces():
    spaces = 'xmlns:myvlm="urn:other/" xmlns:Iptc4xmpExt="urn:another/" xmlns:digiKam="urn:third/"'
    existing = wrap(block("<myvlm:VLM>mine</myvlm:VLM><Iptc4xmpExt:PersonInImage>x</Iptc4xmpExt:PersonInImage>"))
    existing = existing.replace(b'xmlns:myvlm="urn:myvlm:xmp:1.0/"', b"").replace(
        b'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"', spaces.encode()
    )
    data = merged(existing)
    assert graph(data) == graph(existing)
    assert Packet(data).items(IPTC_EXT, "PersonInImage") == ["Anna"]


def test_changes_are_told_readably():
    merge = merging(wrap(block(array("dc:subject", "home"))), WORDS, NOW)
    changes = {c.property: (c.before, c.after) for c in merge.changes}
    assert changes["dc:subject"] == ("home", "home, Anna, Rex")
    assert changes["dc:description"] == ("", WORDS.caption)
    assert merging(merge.data, WORDS, NOW).changes == ()


def test_the_photos_own_description_and_keywords_are_not_hidden_by_a_sidecar_that_is_there():
    existing = wrap('<rdf:Description rdf:about="" xmp:Rating="3"/>')
    embedded = Embedded(exif_description="Grandma, 1980", keywords=("family",))
    merge = merging(existing, WORDS, NOW, embedded=embedded)
    assert WORDS.caption.encode() not in merge.data
    assert merge.notes == (Note(NoteCode.KEPT_EMBEDDED_DESCRIPTION),)
    assert subjects(merge.data) == ["family", "Anna", "Rex"]
    assert merging(merge.data, WORDS, NOW, embedded=embedded).data is None


class TestUnreadPhotos:
    """`embedded` None with a sidecar that is there: nothing that the photo file may say is hidden."""

    RATED = wrap('<rdf:Description rdf:about="" xmp:Rating="3"/>')

    @pytest.mark.parametrize(
        ("existing", "wanted"),
        [
            (RATED, True),
            (wrap(block(description("Our summer"))), True),
            (wrap(block(array("dc:subject", "home"))), True),
            (wrap(block(description(" ") + array("dc:subject", "home"))), True),
            (wrap(block(description("Our summer") + array("dc:subject", "home"))), False),
            (wrap('<rdf:Description rdf:about="" dc:description="Our summer" dc:subject=""/>'), False),
        ],
    )
    def test_what_a_merge_needs_them_for(self, existing, wanted):
        assert needs_embedded(existing) is wanted

    def test_neither_description_nor_keywords_are_begun(self):
        merge = merge_content(self.RATED, WORDS, NOW)
        packet = Packet(merge.data)
        assert packet.find(DC, "description") is None
        assert packet.find(DC, "subject") is None
        assert packet.items(IPTC_EXT, "PersonInImage") == ["Anna"]
        assert [n.code for n in merge.notes] == [NoteCode.DESCRIPTION_UNREAD, NoteCode.KEYWORDS_UNREAD]
        assert merge_content(merge.data, WORDS, LATER).data is None
        later = merge_content(
            merge.data, WORDS, NOW, embedded=Embedded(exif_description="Grandma", keywords=("family",))
        )
        assert subjects(later.data) == ["family", "Anna", "Rex"]
        assert WORDS.caption.encode() not in later.data

    def test_what_a_program_dropped_of_ours_comes_back(self):
        ours = merged(self.RATED)
        again = merge_content(darktable(ours), WORDS, NOW).data
        assert Packet(again).default_text(DC, "description") == WORDS.caption
        assert subjects(again) == ["Anna", "Rex"]

    def test_replace_all_needs_to_know_nothing(self):
        data = merge_content(self.RATED, WORDS, NOW, policy=Policy(replace_all=True)).data
        assert Packet(data).default_text(DC, "description") == WORDS.caption
