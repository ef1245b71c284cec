"""Names that a human took out of a sidecar stay out; names that were not looked for stay in."""

from dataclasses import replace

import pytest
from lxml import etree

from engine.sidecars.rdf.forms import DC, DIGIKAM, IPTC_EXT, LIGHTROOM, MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import NamedRegion, read_regions
from engine.sidecars.xmp import Policy, read_xmp_status, remove_content
from tests.sidecars.other_programs import darktable
from tests.sidecars.xmp_oracles import LATER, RDF, WORDS, array, block, description, merging, wrap

ANNA, REX = NamedRegion("Anna", 0.5, 0.4, 0.2, 0.3), NamedRegion("Rex", 0.2, 0.8, 0.2, 0.3, "Pet")
FULL = replace(WORDS, regions=(ANNA, REX), dimensions=(400, 300))
ASKED = Policy(hierarchy=True)
START = wrap(block(array("dc:subject", "holiday") + array("digiKam:TagsList", "holiday", kind="Seq")))
SUBJECT, PEOPLE, TREE, TAGS = (
    (DC, "subject"),
    (IPTC_EXT, "PersonInImage"),
    (LIGHTROOM, "hierarchicalSubject"),
    (DIGIKAM, "TagsList"),
)


def ours():
    return merging(START, FULL, policy=ASKED).data


def without(data, *terms, of=(SUBJECT, PEOPLE, TREE, TAGS)):
    """What a human leaves who takes terms out of arrays; an array that is empty goes."""
    root = etree.fromstring(data)
    for namespace, name in of:
        for found in list(root.iter(f"{{{namespace}}}{name}")):
            for item in list(found.iter(f"{{{RDF}}}li")):
                if item.text in terms:
                    item.getparent().remove(item)
            if not len(found[0]):
                found.getparent().remove(found)
    return etree.tostring(root)


def without_region(data, name):
    root = etree.fromstring(data)
    for item in list(root.iter(f"{{{RDF}}}li")):
        if any(c.text == name and str(c.tag).endswith("}Name") for c in item):
            item.getparent().remove(item)
    return etree.tostring(root)


def told(data):
    """Everything outside our block that names somebody."""
    packet = Packet(data)
    leaves = [t.replace("/", "|").rsplit("|", 1)[-1] for n in (SUBJECT, PEOPLE, TREE, TAGS) for t in packet.items(*n)]
    return {*leaves, *(r.name for r in read_regions(packet))}


def settled(data, words=FULL, **more):
    """A merge's outcome, of which a second merge changes nothing."""
    done = merging(data, words, LATER, **more).data or data
    assert merging(done, words, LATER, **more).data is None
    return done


def test_the_sole_keyword_that_a_human_took_out_with_the_caption_stays_out():
    rex = replace(WORDS, names=("Rex",), people=(), hierarchy=("Pets|Rex",))
    mine = merging(wrap(block()), rex).data
    edited = without(mine.replace(WORDS.caption.encode(), b"My dog"), "Rex")
    assert Packet(edited).find(*SUBJECT) is None
    assert read_xmp_status(edited).caption == "human"
    assert read_xmp_status(edited).dropped == ()
    done = settled(edited, rex)
    assert told(done) == set()
    assert Packet(done).items(MYVLM, "Declined") == ["Rex"]


def test_a_name_that_was_taken_out_everywhere_stays_out():
    edited = without_region(without(ours(), "Anna", "People|Anna", "People/Anna"), "Anna")
    done = settled(edited)
    assert told(done) == {"holiday", "Rex"}
    for seed in range(3):
        done = settled(darktable(done, subject=("holiday",), seed=seed))
        assert told(done) == {"holiday", "Rex"}, "also when a program dropped our caption"
        assert Packet(done).default_text(DC, "description") == WORDS.caption
    gone = settled(done, replace(FULL, names=(), people=(), hierarchy=(), regions=()))
    assert told(settled(gone)) == {"holiday", "Rex"}, "also after it did not hold for a while"


@pytest.mark.parametrize("place", [SUBJECT, PEOPLE, TREE, TAGS, "region"])
def test_a_name_that_was_taken_out_of_one_property_goes_from_all(place):
    terms = ("Anna", "People|Anna", "People/Anna")
    edited = without_region(ours(), "Anna") if place == "region" else without(ours(), *terms, of=[place])
    assert told(settled(edited)) == {"holiday", "Rex"}
    unasked = replace(FULL, regions=None, unrequested=frozenset({"Anna"}), names=("Rex",), people=())
    assert told(settled(edited, unasked)) == {"holiday", "Rex"}, "whatever was asked for"


@pytest.mark.parametrize("caption", [WORDS.caption, "My dog"])
def test_whole_properties_that_vanished_beside_a_description_were_taken_out(caption):
    edited = without(ours().replace(WORDS.caption.encode(), caption.encode()), "Anna", "Rex", "holiday", of=[SUBJECT])
    assert read_xmp_status(edited).dropped == ()
    assert told(settled(edited)) <= {"holiday"}


def test_where_the_description_was_always_a_humans_what_is_missing_was_taken_out():
    mine = merging(wrap(block(description("Our summer"))), FULL).data
    assert Packet(mine).text(MYVLM, "CaptionHash") is None
    assert told(settled(without(mine, "Anna", "Rex", of=[SUBJECT]))) == set()


def test_a_human_may_put_a_name_in_again():
    out = settled(without(ours(), "Anna", of=[SUBJECT]))
    assert told(out) == {"holiday", "Rex"}
    again = out.replace(b"<rdf:li>Rex</rdf:li>", b"<rdf:li>Rex</rdf:li><rdf:li>anna</rdf:li>", 1)
    done = settled(again, policy=ASKED)
    assert told(done) == {"holiday", "Rex", "Anna", "anna"}
    assert Packet(done).items(*SUBJECT) == ["holiday", "Rex", "anna"], "his spelling, once"
    assert Packet(done).items(MYVLM, "Declined") == []
    assert told(remove_content(done)) == {"holiday", "anna"}


def test_what_others_say_beside_a_declined_name_does_not_bring_it_back():
    start = wrap(block(array("lr:hierarchicalSubject", "Family|Anna")))
    mine = merging(start, WORDS).data
    assert Packet(mine).items(*SUBJECT) == ["Anna", "Rex"]
    done = settled(without(mine, "Anna", of=[SUBJECT]), WORDS)
    assert Packet(done).items(*SUBJECT) == ["Rex"]
    assert Packet(done).items(*PEOPLE) == []
    assert Packet(done).items(*TREE) == ["Family|Anna", "Pets|Rex"]
    again = done.replace(b"<rdf:li>Rex</rdf:li>", b"<rdf:li>Rex</rdf:li><rdf:li>Anna</rdf:li>", 1)
    assert Packet(settled(again, WORDS)).items(*PEOPLE) == ["Anna"]


def test_a_tag_that_a_human_moved_in_his_tree_was_not_taken_out():
    head, tail = ours().split(b"<lr:hierarchicalSubject>")
    done = settled(head + b"<lr:hierarchicalSubject>" + tail.replace(b"People|Anna", b"Family|Anna", 1))
    assert Packet(done).items(*TREE) == ["holiday", "Family|Anna", "Pets|Rex"]
    assert Packet(done).items(*PEOPLE) == ["Anna"]


def test_a_spelling_that_a_human_changed_is_his():
    done = settled(ours().replace(b"<rdf:li>Rex</rdf:li>", b"<rdf:li>REX</rdf:li>", 1))
    assert Packet(done).items(*SUBJECT) == ["holiday", "Anna", "REX"]
    left = settled(done, replace(FULL, names=(), people=(), hierarchy=(), regions=()))
    assert Packet(left).items(*SUBJECT) == ["holiday", "REX"]


def test_the_photos_own_keywords_that_were_taken_out_stay_out():
    from engine.photos.metadata.embedded import Embedded

    embedded = Embedded(keywords=("family",))
    mine = merging(wrap(block()), embedded=embedded).data
    assert Packet(mine).items(*SUBJECT) == ["family", "Anna", "Rex"]
    done = settled(without(mine, "family", "Anna", "Rex", of=[SUBJECT]), WORDS, embedded=embedded)
    milo = replace(WORDS, names=("Milo",), people=(), hierarchy=())
    assert Packet(settled(done, milo, embedded=embedded)).items(*SUBJECT) == ["Milo"]


def test_a_name_with_a_separator_is_one_in_all_properties():
    words = replace(WORDS, names=("AC/DC",), people=(), hierarchy=("Things|AC/DC",))
    mine = merging(START, words, policy=ASKED).data
    assert "Things/AC-DC" in Packet(mine).items(*TAGS)
    assert told(settled(without(mine, "Things/AC-DC"), words)) == {"holiday"}


def test_forgetting_a_name_forgets_that_it_was_taken_out():
    done = settled(without(ours(), "Anna", "Rex", of=[SUBJECT]))
    left = remove_content(done, frozenset({"ANNA"}), frozenset({"ab12"}))
    assert b"Anna" not in left
    assert Packet(left).items(MYVLM, "Declined") == ["Rex"]


class TestUnasked:
    """Names of enrolled concepts that this run did not look for."""

    ONE = replace(
        FULL,
        caption="Rex awoke.",
        names=("Rex",),
        people=(),
        hierarchy=("Pets|Rex",),
        concepts=("cd34@3",),
        regions=(REX,),
        unrequested=frozenset({"anna"}),
        unrequested_ids=frozenset({"ab12"}),
    )

    def test_what_we_said_of_them_stays(self):
        before = ours()
        done = Packet(settled(before, self.ONE))
        for target in (SUBJECT, PEOPLE, TREE, TAGS):
            assert done.items(*target) == Packet(before).items(*target)
        assert [r.name for r in read_regions(done)] == ["Anna", "Rex"]
        assert done.items(MYVLM, "Concepts") == ["ab12@1", "cd34@3"]
        assert done.default_text(DC, "description") == "Rex awoke."
        for record in ("Subjects", "People", "Hierarchy", "Tags", "Regions"):
            assert done.items(MYVLM, record) == Packet(before).items(MYVLM, record)

    def test_the_same_words_in_parts_change_nothing(self):
        same = replace(self.ONE, caption=WORDS.caption, concepts=("cd34@2",))
        assert merging(ours(), same, LATER).data is None

    def test_also_when_nothing_was_found(self):
        nothing = replace(self.ONE, names=(), hierarchy=(), concepts=(), regions=())
        done = settled(ours(), nothing)
        assert told(done) == {"holiday", "Anna"}
        assert Packet(done).items(*TREE) == ["holiday", "People|Anna"]
        assert Packet(done).items(MYVLM, "Concepts") == ["ab12@1"]

    def test_what_was_looked_for_in_vain_or_is_gone_goes(self):
        assert told(settled(ours(), replace(self.ONE, unrequested=frozenset(), unrequested_ids=frozenset()))) == {
            "holiday",
            "Rex",
        }

    def test_they_come_back_after_a_program_dropped_them(self):
        done = settled(darktable(ours(), subject=("holiday",)), self.ONE)
        assert sorted(Packet(done).items(*SUBJECT)) == ["Anna", "Rex", "holiday"]

    def test_what_others_say_of_them_is_not_ours(self):
        start = wrap(block(array("dc:subject", "Anna")))
        done = settled(merging(start, FULL).data, self.ONE)
        assert told(remove_content(done)) == {"Anna"}
        assert Packet(done).items(MYVLM, "Subjects") == ["Rex"]


def test_what_a_program_emptied_and_a_run_did_not_refill_is_no_humans_decision():
    """Everything dropped, then a run without regions and hierarchy, then one with them: nobody took Anna out."""
    packet = Packet(ours())
    regions = ("http://www.metadataworkinggroup.com/schemas/regions/", "Regions")
    for name in ((DC, "description"), SUBJECT, PEOPLE, TREE, TAGS, regions):
        packet.remove(*name)
    plain = replace(FULL, regions=None)
    first = merging(packet.serialise(), plain).data
    assert merging(first, plain, now=LATER).data is None
    again = Packet(merging(first, FULL, policy=ASKED, now=LATER).data)
    assert set(again.items(*SUBJECT)) >= set(FULL.names)
    assert {r.name for r in read_regions(again)} == {"Anna", "Rex"}
    assert again.items(MYVLM, "Declined") == []
