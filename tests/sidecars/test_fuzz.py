"""Damaged and odd sidecars: nothing but a SidecarError, or a result that keeps what was there and stands still.

Some hundred inputs always; with `-m fuzz` a hundred thousand (MYVLM_FUZZ sets another number).
"""

import os
import random
from collections import Counter
from xml.sax import SAXException

import pytest
from lxml import etree
from rdflib.exceptions import ParserError

from engine.core.errors import SidecarError
from engine.photos.metadata.embedded import Embedded
from engine.sidecars.merge.ownership import LABELS, METADATA_DATE, OURS
from engine.sidecars.rdf.forms import MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import NamedRegion
from engine.sidecars.xmp import Policy, SidecarContent, merge_content, read_xmp_status, remove_content, restore
from tests.sidecars.xmp_oracles import LATER, NOW, RDF, SILENT, SPACES, WORDS, graph

FEW, MANY = 400, int(os.environ.get("MYVLM_FUZZ", "100000"))
GRAPH_EACH = 100  # rdflib is slow: it looks at every hundredth
TOUCHED_TAGS = {f"{{{n}}}{name}" for n, name in {*LABELS, METADATA_DATE, *((MYVLM, n) for n in OURS)}}
REGIONS = SidecarContent(
    **{k: getattr(WORDS, k) for k in ("caption", "names", "people", "hierarchy", "concepts", "vlm", "settings")},
    regions=(NamedRegion("Anna", 0.5, 0.4, 0.2, 0.3),),
    dimensions=(400, 300),
)
PIECES = (
    *(b"<!DOCTYPE a>", b"<!--", b"-->", b"<?", b"?>", b"<![CDATA[", b"]]>", b"&amp;", b"&lt;", b"&#0;", b"&#13;"),
    *(b"&x;", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"<", b">", b"/", b'"', b"'", b"=", b"rdf:", b"dc:"),
    *(b"<rdf:li>Rex</rdf:li>", b"<rdf:Bag>", b"</rdf:Bag>", b"<dc:subject/>", b' rdf:parseType="Resource"'),
    *(b"<a>" * 300, b"xmlns:dc=''", b"http://purl.org/dc/elements/1.1/", "é\u0301".encode(), b"myvlm:", b"Anna"),
    *(b' rdf:about="x"', b"SONY DSC"),
)
NAMES = (
    "dc:subject dc:description dc:title tiff:ImageDescription digiKam:TagsList lr:hierarchicalSubject xmp:MetadataDate "
    "Iptc4xmpExt:PersonInImage mwg-rs:Regions mwg-rs:Name mwg-rs:RegionList myvlm:Subjects myvlm:CaptionHash "
    "myvlm:Regions myvlm:MirrorHash myvlm:HadDescription myvlm:Run rdf:li rdf:Bag rdf:Alt rdf:Seq rdf:Description "
    "rdf:value rdf:RDF rdf:_1"
)
TAGS = tuple(f"{{{SPACES[n.split(':')[0]]}}}{n.split(':')[1]}" for n in NAMES.split())
TEXTS = ("", " ", "Rex", "Anna", WORDS.caption, "People|Anna", "SONY DSC", "Our summer", "a\nb", "0.5")
TEXTS += ("Anna 0.5 0.4 0.2 0.3",)
RDF_ATTRIBUTES = (("parseType", "Resource"), ("parseType", "Literal"), ("about", "uuid:1"), ("ID", "i"))


def mutate_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 1, 4, 20, 200)))
        kind = rng.randrange(7)
        if kind == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:to] + data[at:to] + data[to:]
        elif kind == 3:
            start = rng.randrange(len(other))
            data = data[:at] + other[start : start + rng.choice((5, 50, 500))] + data[to:]
        elif kind == 4:
            data = data[:at]
        else:
            data = data[:at] + rng.choice(PIECES) + data[rng.choice((at, to)) :]
    return data


def mutate_tree(rng: random.Random, data: bytes, other: bytes) -> bytes:
    root = etree.fromstring(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        elements = [e for e in root.iter(etree.Element) if e is not root]
        if not elements:
            break
        element = rng.choice(elements)
        parent = element.getparent()
        kind = rng.randrange(11)
        if kind == 0:
            parent.remove(element)
        elif kind == 1:
            parent.insert(rng.randrange(len(parent) + 1), etree.fromstring(etree.tostring(element, with_tail=False)))
        elif kind == 2:
            element.tag = rng.choice(TAGS)
        elif kind == 3:
            element.text = rng.choice(TEXTS)
        elif kind == 4:
            element.set(rng.choice(TAGS), rng.choice(TEXTS))
        elif kind == 5:
            name, value = rng.choice(RDF_ATTRIBUTES)
            element.set(f"{{{RDF}}}{name}", value)
        elif kind == 6:
            element.set("{http://www.w3.org/XML/1998/namespace}lang", rng.choice(("x-default", "de", "X-Default")))
        elif kind == 7:
            etree.SubElement(element, rng.choice(TAGS)).text = rng.choice(TEXTS)
        elif kind == 8:
            element.insert(0, rng.choice((etree.Comment("note"), etree.ProcessingInstruction("note", "this"))))
        elif kind == 9:
            donors = list(etree.fromstring(other).iter(etree.Element))
            element.append(etree.fromstring(etree.tostring(rng.choice(donors), with_tail=False)))
        elif element.attrib:
            element.attrib.pop(rng.choice(sorted(element.attrib)))
    return etree.tostring(root, encoding="utf-8")


def seeds(shared) -> list[bytes]:
    """Real sidecars, and what they are when we have been there."""
    found = [f.read_bytes() for f in sorted((shared / "sidecars").glob("*.xmp"))]
    ours = [merge_content(d, REGIONS, NOW, policy=Policy(hierarchy=True), embedded=SILENT).data or d for d in found]
    return [d for d in [*found, *ours, merge_content(None, REGIONS, NOW).data] if len(d) < 12_000]


def told(node) -> tuple:
    """What a node says, without its layout."""
    texts = "".join([node.text or "", *(c.tail or "" for c in node)]).split()
    return (str(node.tag), tuple(sorted(getattr(node, "attrib", {}).items())), *texts, *map(told, node))


def foreign_properties(data: bytes) -> Counter:
    """Every property that we never write, canonical, whatever block it is in."""
    found: Counter = Counter()
    root = etree.fromstring(data)
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    for element in rdf.iterchildren(tag=etree.Element):
        found.update((k, v) for k, v in element.attrib.items() if k not in TOUCHED_TAGS and "about" not in k)
        for child in element.iterchildren(tag=etree.Element):
            if child.tag not in TOUCHED_TAGS:
                found[told(child)] += 1
    return found


def check(data: bytes, words: SidecarContent, policy: Policy, embedded: Embedded | None, *, deeply: bool) -> str:
    """What became of an input: refused, unchanged or merged."""
    try:
        read_xmp_status(data)
        remove_content(data)
    except SidecarError:
        pass
    try:
        merged = merge_content(data, words, NOW, policy=policy, embedded=embedded).data
    except SidecarError:
        return "refused"
    if merged is None:
        return "unchanged"
    assert merge_content(merged, words, LATER, policy=policy, embedded=embedded).data is None, (
        "a second merge changes something"
    )
    before = foreign_properties(data)
    assert foreign_properties(merged) == before
    assert read_xmp_status(merged).marked
    for names, ids in ((None, frozenset()), (frozenset({"Anna"}), frozenset({"ab12"}))):
        try:
            left = remove_content(merged, names, ids)
        except SidecarError:
            continue
        assert left is None or foreign_properties(left) == before
    for earlier in (None, data):
        try:
            left = restore(merged, earlier)
        except SidecarError:
            continue
        assert left is None or foreign_properties(left) == before
    if deeply and words.regions is None and not Packet(data).items(MYVLM, "Regions"):  # ours may have gone
        try:
            old = graph(data)
        except (ParserError, SAXException):  # rdflib refuses what XMP's readers let pass
            return "merged"
        assert graph(merged) == old
    return "merged"


def fuzz(shared, count: int, seed: int) -> Counter:
    pool = seeds(shared)
    outcomes: Counter = Counter()
    for i in range(count):
        rng = random.Random(seed * 10_000_000 + i)
        data, other = rng.choice(pool), rng.choice(pool)
        how = mutate_bytes if rng.random() < 0.4 else mutate_tree
        try:
            data = how(rng, data, other)
        except (ValueError, etree.LxmlError):  # the mutation made what cannot be written
            outcomes["no input"] += 1
            continue
        words, embedded = rng.choice((WORDS, REGIONS)), rng.choice((None, SILENT))
        policy = Policy(rng.random() < 0.3, rng.random() < 0.3)
        try:
            outcomes[check(data, words, policy, embedded, deeply=i % GRAPH_EACH == 0)] += 1
        except Exception as err:
            err.add_note(f"seed {seed}, input {i}, {how.__name__}, {words is REGIONS}, {embedded}, {policy}:\n{data!r}")
            raise
    return outcomes


def test_a_few_hundred_odd_sidecars(shared):
    outcomes = fuzz(shared, FEW, seed=1)
    assert outcomes["merged"] > FEW // 4, outcomes
    assert outcomes["refused"] > FEW // 20, outcomes


@pytest.mark.fuzz
def test_a_hundred_thousand_odd_sidecars(shared):
    outcomes = fuzz(shared, MANY, seed=2)
    assert outcomes["no input"] < MANY // 10
