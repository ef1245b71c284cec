"""What an XMP document says, by rdflib: an oracle that shares no code with the engine's."""

from datetime import UTC, datetime

import rdflib
from lxml import etree
from rdflib.compare import to_canonical_graph

from engine.photos.metadata.embedded import Embedded
from engine.sidecars.xmp import Merge, SidecarContent, merge_content

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
WORDS = SidecarContent(
    caption="Rex is sleeping on Anna's sofa.",
    names=("Anna", "Rex"),
    people=("Anna",),
    hierarchy=("People|Anna", "Pets|Rex"),
    concepts=("ab12@1", "cd34@2"),
    vlm="vlm@1",
    settings="d1g3st",
)
SILENT = Embedded()
"""What a photo file says that says nothing of itself."""
SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "myvlm": "urn:myvlm:xmp:1.0/",
}
ARRAYS = ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList", "Iptc4xmpExt:PersonInImage")
TEXTS = ("dc:description", "tiff:ImageDescription")
RDF = rdflib.Namespace(SPACES["rdf"])
MEMBER = str(RDF) + "_"


def merging(existing: bytes | None, words: SidecarContent = WORDS, now: datetime = NOW, **more) -> Merge:
    """A merge; with a sidecar that is there the photo file was read, and says nothing of itself."""
    return merge_content(existing, words, now, **({"embedded": SILENT} if existing is not None else {}) | more)


def uri(name: str) -> rdflib.URIRef:
    prefix, local = name.split(":")
    return rdflib.URIRef(SPACES[prefix] + local)


def wrap(inner: str, head: str = "", spaces: str = "") -> bytes:
    names = " ".join(f'xmlns:{p}="{u}"' for p, u in SPACES.items() if p in ("rdf", "dc", "xmp") or f"{p}:" in inner)
    return f'{head}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {names} {spaces}>{inner}</rdf:RDF></x:xmpmeta>'.encode()


def block(inner: str = "", attributes: str = "") -> str:
    return f'<rdf:Description rdf:about="" {attributes}>{inner}</rdf:Description>'


def array(name: str, *items: str, kind: str = "Bag") -> str:
    return f"<{name}><rdf:{kind}>{''.join(f'<rdf:li>{i}</rdf:li>' for i in items)}</rdf:{kind}></{name}>"


def description(text: str, lang: str = "x-default", name: str = "dc:description") -> str:
    return f'<{name}><rdf:Alt><rdf:li xml:lang="{lang}">{text}</rdf:li></rdf:Alt></{name}>'


def parse(data: bytes) -> rdflib.Graph:
    root = etree.fromstring(data)
    rdf = root if root.tag.endswith("}RDF") else next(e for e in root if str(e.tag).endswith("}RDF"))
    found = rdflib.Graph()
    found.parse(data=etree.tostring(rdf), format="xml", publicID="urn:photo")
    return found


def drop(g: rdflib.Graph, triple) -> None:
    g.remove(triple)
    if isinstance(triple[2], rdflib.BNode):
        for below in list(g.triples((triple[2], None, None))):
            drop(g, below)


def graph(data: bytes, *, shared: bool = False) -> set:
    """The triples of a document, canonical; `shared` keeps the properties that we share with others."""
    found = parse(data)
    left_out = {uri("xmp:MetadataDate")} | (set() if shared else {uri(n) for n in (*ARRAYS, *TEXTS)})
    for triple in list(found):
        if triple[1] in left_out or str(triple[1]).startswith(SPACES["myvlm"]):
            drop(found, triple)
    if shared:  # an empty array or text says nothing, and goes with ours
        for name in TEXTS:
            for triple in list(found.triples((None, uri(name), None))):
                drop(found, triple)
        for name in ARRAYS:
            for triple in list(found.triples((None, uri(name), None))):
                if _bare(found, triple[2]):
                    drop(found, triple)
        said = {
            (name, text, lang or "x-default") for name in TEXTS for text, lang in members(data, name) if text.strip()
        }
        return set(to_canonical_graph(found)) | said
    return set(to_canonical_graph(found))


def _bare(g: rdflib.Graph, node) -> bool:
    if isinstance(node, rdflib.Literal):
        return not str(node).strip()
    return all(p == RDF.type for _, p, _ in g.triples((node, None, None)))


def members(data: bytes, name: str) -> list[tuple[str, str | None]]:
    """The items of an array or language alternative: text and language, in order; a simple value is one item."""
    found = parse(data)
    texts = []
    for value in found.objects(None, uri(name)):
        if isinstance(value, rdflib.Literal):
            texts.append((str(value), value.language))
            continue
        entries = [
            (int(str(p)[len(MEMBER) :]), o) for p, o in found.predicate_objects(value) if str(p).startswith(MEMBER)
        ]
        for _, o in sorted(entries, key=lambda e: e[0]):
            inner = o if isinstance(o, rdflib.Literal) else next(found.objects(o, RDF.value), o)
            texts.append(
                (str(inner) if isinstance(inner, rdflib.Literal) else "(struct)", getattr(inner, "language", None))
            )
    return texts


def assert_kept(before: bytes, after: bytes, words: SidecarContent = WORDS, *, replaced: tuple[str, ...] = ()) -> None:
    """Everything foreign of `before` is in `after`, item by item, in its order; what is new is from `words`."""
    assert graph(after) == graph(before)
    new = {*words.names, *words.people, *words.hierarchy, *(h.replace("|", "/") for h in words.hierarchy)}
    for name in ARRAYS:
        old, now = members(before, name), members(after, name)
        rest = list(now)
        for item in old:
            assert item in rest, f"{name} lost {item}"
            rest.remove(item)
        assert [i for i in now if i in old][: len(old)] == old or len(set(old)) < len(old), name
        assert {t for t, _ in rest} <= new | {t for n in ARRAYS for t, _ in members(before, n)}, name
    for name in TEXTS:
        old, now = members(before, name), members(after, name)
        lost = [i for i in old if i not in now and i[0].strip() and i[0] not in replaced]
        assert not lost, f"{name} lost {lost}"
