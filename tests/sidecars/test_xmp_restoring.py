"""Undoing a run in a sidecar that somebody else changed after it."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from engine.core.errors import SidecarError
from engine.photos.metadata.embedded import Embedded
from engine.sidecars.rdf.forms import DC, IPTC_EXT, MYVLM, TIFF
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import NamedRegion, read_regions
from engine.sidecars.xmp import Policy, read_xmp_status, remove_content, restore
from tests.sidecars.other_programs import darktable
from tests.sidecars.xmp_oracles import LATER, WORDS, array, block, description, graph, merging, wrap
from tests.sidecars.xmp_strategies import packets

ANNA, REX = NamedRegion("Anna", 0.5, 0.4, 0.2, 0.3), NamedRegion("Rex", 0.2, 0.8, 0.2, 0.3, "Pet")
FIRST = replace(WORDS, regions=(ANNA,), dimensions=(400, 300), run="1")
SECOND = replace(
    WORDS,
    caption="Rex awoke.",
    names=("Rex", "Milo"),
    people=(),
    hierarchy=("Pets|Rex", "Pets|Milo"),
    concepts=("cd34@3", "ef56@1"),
    vlm="vlm@2",
    regions=(REX,),
    dimensions=(400, 300),
    run="2",
)
HUMAN = wrap(block(description("Our summer") + array("dc:subject", "holiday"), 'xmp:Rating="3"'))
REPLACE = Policy(replace_all=True)


def labelled(data):
    """Somebody labels the photo."""
    packet = Packet(data)
    packet.set_text("http://ns.adobe.com/xap/1.0/", "Label", "red")
    return packet.serialise()


def says(data):
    packet = Packet(data)
    texts = [packet.default_text(DC, "description"), packet.default_text(TIFF, "ImageDescription")]
    own = [sorted(packet.items(MYVLM, n)) for n in ("Subjects", "People", "Hierarchy", "Tags", "Regions", "Concepts")]
    marks = [packet.text(MYVLM, n) for n in ("VLM", "Settings", "Run", "CaptionHash", "MirrorHash", "HadDescription")]
    names = [sorted(packet.items(*n)) for n in ((DC, "subject"), (IPTC_EXT, "PersonInImage"))]
    return texts, own, marks, names, sorted(r.name for r in read_regions(packet))


@pytest.mark.parametrize("start", [wrap(block()), HUMAN, wrap(block(array("lr:hierarchicalSubject", "Places|Rome")))])
@pytest.mark.parametrize("policy", [Policy(), REPLACE, Policy(hierarchy=True)])
def test_the_words_of_the_run_before_come_back(start, policy):
    first = merging(start, FIRST, policy=policy).data
    second = merging(first, SECOND, policy=policy).data
    back = restore(labelled(second), first)
    assert says(back) == says(first)
    assert b"red" in back
    assert merging(back, FIRST, LATER, policy=policy).data is None
    assert says(restore(labelled(back), start)) == says(start)


def test_they_come_back_after_a_program_dropped_what_it_knows_not():
    first = merging(wrap(block(array("dc:subject", "holiday"))), FIRST).data
    second = merging(first, SECOND).data
    back = restore(darktable(second, subject=("holiday",)), first)
    assert says(back) == says(first)


def test_a_sidecar_that_was_ours_alone_may_go_and_else_stays():
    new = merging(None, FIRST).data
    assert restore(new, None) is None
    left = restore(labelled(new), None)
    assert left == remove_content(labelled(new))
    assert b"red" in left
    assert MYVLM.encode() not in left
    assert says(restore(merging(new, SECOND).data, new)) == says(new)


def test_nothing_of_ours_is_the_same_bytes():
    assert restore(HUMAN, None) == HUMAN
    assert restore(HUMAN, merging(wrap(block()), FIRST).data) == HUMAN
    first = merging(wrap(block()), FIRST).data
    assert restore(first, first) == first


@pytest.mark.parametrize("then", [labelled, darktable])
def test_a_humans_description_that_we_had_replaced_comes_back(then):
    data = merging(HUMAN, WORDS, policy=REPLACE).data
    assert Packet(restore(then(data), HUMAN)).default_text(DC, "description") == "Our summer"


def test_a_humans_description_that_we_had_not_replaced_does_not():
    data = darktable(merging(HUMAN, WORDS).data, subject=("holiday",))
    assert Packet(data).default_text(DC, "description") is None
    assert Packet(restore(data, HUMAN)).default_text(DC, "description") is None


def test_a_newer_description_of_a_human_stays():
    first = merging(wrap(block()), FIRST).data
    second = merging(first, SECOND).data.replace(b"Rex awoke.", b"My dog!")
    back = restore(second, first)
    assert Packet(back).default_text(DC, "description") == "My dog!"
    assert read_xmp_status(back).caption == "human"
    assert Packet(restore(second, HUMAN)).default_text(DC, "description") == "My dog!"


def test_a_text_in_another_language_stays_as_it_is():
    german = wrap(block(description("Unser Sommer", "de")))
    data = merging(german, WORDS, policy=REPLACE).data
    assert restore(labelled(data), german).count(b"Unser Sommer") == 1


def test_the_mirror_of_our_caption_follows():
    junk = Embedded(exif_description="SONY DSC")
    first = merging(None, FIRST, embedded=junk).data
    second = merging(first, SECOND, embedded=junk).data
    assert Packet(second).default_text(TIFF, "ImageDescription") == "Rex awoke."
    assert says(restore(labelled(second), first)) == says(first)
    camera = wrap(block(description("SONY DSC", name="tiff:ImageDescription")))
    assert says(restore(labelled(merging(camera).data), camera)) == says(camera)


def test_what_a_human_took_out_since_stays_out():
    first = merging(wrap(block()), FIRST).data
    second = merging(first, replace(SECOND, names=("Anna", "Rex"), people=("Anna",), regions=(ANNA, REX))).data
    edited = second.replace(b"<rdf:li>Anna</rdf:li>", b"", 1)
    back = restore(edited, first)
    packet = Packet(back)
    assert packet.items(DC, "subject") == ["Rex"]
    assert packet.items(IPTC_EXT, "PersonInImage") == []
    assert read_regions(packet) == ()
    assert packet.items(MYVLM, "Declined") == ["Anna"]
    assert Packet(merging(back, FIRST, LATER).data or back).items(DC, "subject") == ["Rex"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(packets(), packets())
def test_any_packet_keeps_every_foreign_property(data, other):
    try:
        first = merging(data, FIRST).data
        second = merging(first, SECOND).data
    except SidecarError:
        return
    back = restore(second, first)
    assert says(back)[:3] == says(first)[:3]
    assert graph(restore(back, data), shared=True) == graph(data, shared=True)
    assert restore(other, second) == other
    for before in (None, other):
        try:
            left = restore(second, before)
        except SidecarError:
            continue
        assert left is None or remove_content(left) is None or graph(remove_content(left)) == graph(data)
