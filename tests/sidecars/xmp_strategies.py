"""Random XMP documents for hypothesis: every form that RDF allows, and what real files do besides."""

from xml.sax.saxutils import escape, quoteattr

from hypothesis import strategies as st

from tests.sidecars.xmp_oracles import SPACES, WORDS

NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,6}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs", "Mn")), max_size=20)
SPACED = st.tuples(TEXT, st.sampled_from(("", " ", "\n", "\t x"))).map("".join)
GAP = st.sampled_from(("", "\n", "\n   "))
TERM = st.one_of(TEXT, st.sampled_from(("Anna", "Rex", "Family|Anna", "Pets/Rex", " Rex ", "People|Anna")))
LONG = st.sampled_from(("", "Our summer", WORDS.caption, "SONY DSC", " ", "OLYMPUS DIGITAL CAMERA"))
OTHER = "http://example.org/n/"
NOISE = st.sampled_from(("", "", "", "<!-- note -->", "<?note this?>"))


@st.composite
def values(draw, depth: int = 0) -> tuple[str, str]:
    """A value: attributes and content of its element."""
    forms = ["text", "cdata", "lang", "resource", "qualified"]
    forms += ["Bag", "Seq", "Alt", "struct", "nested", "typed", "literal"] if depth < 3 else []
    form = draw(st.sampled_from(forms))
    if form == "text":
        return "", escape(draw(SPACED))
    if form == "cdata":
        return "", f"<![CDATA[{draw(TEXT).replace(']]>', '')}]]>"
    if form == "lang":
        return f" xml:lang={quoteattr(draw(st.sampled_from(('x-default', 'de', 'en-US'))))}", escape(draw(TEXT))
    if form == "resource":
        return ' rdf:resource="urn:a:b"', ""
    if form == "qualified":
        return (
            ' rdf:parseType="Resource"',
            f"<rdf:value>{escape(draw(TEXT))}</rdf:value><n:q>{escape(draw(TEXT))}</n:q>",
        )
    if form in ("Bag", "Seq", "Alt"):
        return "", f"<rdf:{form}>{''.join(draw(st.lists(items(depth + 1), max_size=3)))}</rdf:{form}>"
    fields = "".join(draw(st.lists(elements(depth + 1), max_size=3)))
    if form == "struct":
        return ' rdf:parseType="Resource"', fields
    if form == "nested":
        return "", f"<rdf:Description n:a={quoteattr(draw(TEXT))}>{fields}</rdf:Description>"
    if form == "literal":
        return ' rdf:parseType="Literal"', f" <n:i> {escape(draw(TEXT))}</n:i> "
    return "", f"<n:Type>{fields}</n:Type>"


@st.composite
def items(draw, depth: int = 0) -> str:
    attributes, content = draw(values(depth))
    return f"{draw(GAP)}<rdf:li{attributes}>{content}</rdf:li>{draw(NOISE)}"


@st.composite
def elements(draw, depth: int = 0) -> str:
    name = draw(NAME)
    attributes, content = draw(values(depth))
    return f"{draw(GAP)}<n:{name}{attributes}>{content}</n:{name}>{draw(NOISE)}"


@st.composite
def shared_properties(draw) -> str:
    """The properties that we write too, as somebody else left them."""
    found = []
    for name, kind in (("dc:subject", "Bag"), ("lr:hierarchicalSubject", "Bag"), ("digiKam:TagsList", "Seq")):
        if draw(st.booleans()):
            terms = "".join(f"{draw(GAP)}<rdf:li>{escape(t)}</rdf:li>" for t in draw(st.lists(TERM, max_size=4)))
            kind = draw(st.sampled_from((kind, "Seq", "Alt")))
            found.append(f"<{name}><rdf:{kind}>{terms}{draw(NOISE)}</rdf:{kind}></{name}>")
    for name in ("dc:description", "tiff:ImageDescription"):
        form = draw(st.sampled_from(("none", "none", "Alt", "simple", "Alt2", "odd")))
        text = escape(draw(LONG))
        if form in ("Alt", "Alt2"):
            more = f'<rdf:li xml:lang="de">{escape(draw(TEXT))}</rdf:li>' if form == "Alt2" else ""
            found.append(f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li>{more}</rdf:Alt></{name}>')
        elif form == "simple":
            found.append(f"<{name}>{text}</{name}>")
        elif form == "odd":
            attributes, content = draw(values(2))
            found.append(f"<{name}{attributes}>{content}</{name}>")
    if draw(st.booleans()):
        people = "".join(draw(st.lists(items(2), max_size=2)))
        found.append(f"<Iptc4xmpExt:PersonInImage><rdf:Bag>{people}</rdf:Bag></Iptc4xmpExt:PersonInImage>")
    return "".join(draw(st.permutations(found)))


@st.composite
def packets(draw) -> bytes:
    about = draw(st.sampled_from((' rdf:about=""', ' rdf:about="uuid:1-2"', "")))
    blocks = []
    for _ in range(draw(st.integers(0, 3))):
        attributes = {draw(NAME): draw(TEXT) for _ in range(draw(st.integers(0, 3)))}
        told = "".join(f" n:{k}={quoteattr(v)}" for k, v in attributes.items())
        children = "".join(draw(st.lists(elements(), max_size=3)))
        own = draw(st.sampled_from((about, about, ' rdf:about=""')))
        gap = draw(GAP)
        shared = draw(shared_properties()) if draw(st.integers(0, 2)) == 0 else ""
        rating = draw(st.sampled_from(("", ' xmp:Rating="4"', ' dc:description=""', ' dc:subject="one"')))
        rating = "" if shared and "dc:" in rating else rating
        kind = draw(st.sampled_from(("rdf:Description",) * 5 + ("n:Photo",)))
        blocks.append(f"{gap}<{kind}{own}{told}{rating}>{gap}{shared}{children}{gap}</{kind}>{draw(NOISE)}")
    usual = draw(st.booleans())
    prefixes = {k if usual else f"p{i}": u for i, (k, u) in enumerate(SPACES.items()) if k not in ("rdf", "myvlm")}
    inner = "".join(blocks)
    if not usual:
        for i, k in enumerate(SPACES):
            inner = (
                inner.replace(f"<{k}:", f"<p{i}:").replace(f"</{k}:", f"</p{i}:").replace(f" {k}:", f" p{i}:")
                if (k not in ("rdf", "myvlm"))
                else inner
            )
        prefixes |= {"dc": "http://example.org/wrong/", "myvlm": "http://example.org/wrong/2", "Iptc4xmpExt": OTHER}
    names = " ".join(f'xmlns:{p}="{u}"' for p, u in prefixes.items())
    rdf = f'<rdf:RDF xmlns:rdf="{SPACES["rdf"]}" xmlns:n="{OTHER}" {names}>{inner}{draw(GAP)}</rdf:RDF>'
    root = draw(st.sampled_from(("x:xmpmeta", "x:xapmeta", "")))
    body = f'<{root} xmlns:x="adobe:ns:meta/" x:xmptk="{draw(NAME)}">{rdf}</{root}>' if root else rdf
    head = draw(st.sampled_from(("", "\ufeff", '<?xml version="1.0" encoding="UTF-8"?>\n', "<!-- by hand -->")))
    begin, end = draw(
        st.sampled_from((("", ""), ('<?xpacket begin="\ufeff" id="W5M0"?>\n', f'{" " * 50}\n<?xpacket end="w"?>')))
    )
    text = head + begin + body + end
    return (text.replace("\n", "\r\n") if draw(st.booleans()) else text).encode()
