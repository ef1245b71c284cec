"""Reading and editing an XMP packet in place, with lxml; everything not ours stays as it is."""

import copy
from collections.abc import Iterator

from lxml import etree

from engine.errors import SidecarError
from engine.sidecars.namespaces import PREFIXES, RDF, XML, X, q

LARGEST = 32 * 2**20
_EMPTY = (
    f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="{X}" x:xmptk="myvlm">\n'
    f' <rdf:RDF xmlns:rdf="{RDF}">\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
)
_INDENT = "  "


class Packet:
    """One parsed XMP document."""

    def __init__(self, data: bytes | None) -> None:
        """Parse a packet, or start an empty one.

        Raises:
            SidecarError: too large, malformed, with a DOCTYPE, or not an RDF document.
        """
        data = _EMPTY.encode() if data is None else data
        if len(data) > LARGEST:
            raise SidecarError(f"the sidecar is larger than {LARGEST} bytes")
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_blank_text=False
        )
        try:
            self._tree = etree.fromstring(data, parser).getroottree()
        except (etree.XMLSyntaxError, ValueError) as err:
            raise SidecarError(f"the sidecar is not well-formed XML ({err})") from err
        if self._tree.docinfo.internalDTD is not None or self._tree.docinfo.doctype:
            raise SidecarError("the sidecar has a DOCTYPE, which no XMP has")
        encoding = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else self._tree.docinfo.encoding or "UTF-8"
        if encoding.upper() not in ("UTF-8", "ASCII", "US-ASCII"):
            raise SidecarError(f"the sidecar is encoded as {encoding}")
        self._declared = data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<?xml ")
        root = self._tree.getroot()
        self._rdf = root if root.tag == q(RDF, "RDF") else root.find(q(RDF, "RDF"))
        if self._rdf is None:
            raise SidecarError("the sidecar has no rdf:RDF, so it is no XMP")

    def blocks(self) -> list[etree._Element]:
        """The rdf:Description elements that hold properties of the photo."""
        return [e for e in self._rdf if e.tag == q(RDF, "Description")]

    def find(self, namespace: str, name: str) -> etree._Element | str | None:
        """A property: its element, the text of its attribute form, or None."""
        for block in self.blocks():
            value = block.get(q(namespace, name))
            if value is not None:
                return value
            found = block.find(q(namespace, name))
            if found is not None:
                return found
        return None

    def text(self, namespace: str, name: str) -> str | None:
        """A simple property's text, from either form."""
        found = self.find(namespace, name)
        return found if found is None or isinstance(found, str) else (found.text or "")

    def items(self, namespace: str, name: str) -> list[str]:
        """The texts of an array property (Bag, Seq or Alt); a simple value counts as one item."""
        found = self.find(namespace, name)
        if found is None:
            return []
        if isinstance(found, str):
            return [found]
        entries = list(found.iter(q(RDF, "li")))
        return [e.text or "" for e in entries] if entries else [found.text] if (found.text or "").strip() else []

    def default_text(self, namespace: str, name: str) -> str | None:
        """A language alternative's `x-default` text, else its first text; None when it is absent or empty."""
        found = self.find(namespace, name)
        if isinstance(found, str):
            return found or None
        if found is None:
            return None
        entries = sorted(found.iter(q(RDF, "li")), key=lambda e: e.get(q(XML, "lang")) != "x-default")
        texts = [t for e in entries or [found] if (t := "".join(e.itertext())).strip()]
        return texts[0] if texts else None

    def set_text(self, namespace: str, name: str, value: str) -> None:
        """Set a simple property, keeping the form it has."""
        for block in self.blocks():
            if block.get(q(namespace, name)) is not None:
                block.set(q(namespace, name), value)
                return
        found = self.find(namespace, name)
        if found is None:
            found = self._append(self._block_for(namespace), q(namespace, name))
        found.text = value  # type: ignore[union-attr]

    def set_default_text(self, namespace: str, name: str, value: str) -> None:
        """Set a language alternative's `x-default` text; other languages stay."""
        found = self.find(namespace, name)
        if isinstance(found, str):
            self.remove(namespace, name)  # the attribute form holds no languages
            found = None
        if found is None:
            found = self._append(self._block_for(namespace), q(namespace, name))
        alternative = found.find(q(RDF, "Alt"))
        if alternative is None:
            alternative = self._append(found, q(RDF, "Alt"))
        for entry in alternative.findall(q(RDF, "li")):
            if entry.get(q(XML, "lang")) == "x-default":
                entry.text = value
                return
        entry = self._append(alternative, q(RDF, "li"), first=True)
        entry.set(q(XML, "lang"), "x-default")
        entry.text = value

    def add_items(self, namespace: str, name: str, values: list[str]) -> bool:
        """Add items to a Bag; False when the property has a form that cannot take them."""
        found = self.find(namespace, name)
        if isinstance(found, str):
            return False
        if found is None:
            found = self._append(self._block_for(namespace), q(namespace, name))
        bag = next((e for e in found if e.tag in (q(RDF, "Bag"), q(RDF, "Seq"), q(RDF, "Alt"))), None)
        if bag is None:
            if (found.text or "").strip():
                return False
            bag = self._append(found, q(RDF, "Bag"))
        for value in values:
            self._append(bag, q(RDF, "li")).text = value
        return True

    def remove_items(self, namespace: str, name: str, values: set[str]) -> None:
        """Remove items from an array; an array that is left empty goes with its property."""
        found = self.find(namespace, name)
        if not isinstance(found, etree._Element):
            return
        entries = list(found.iter(q(RDF, "li")))
        for entry in entries:
            if (entry.text or "") in values and not len(entry):
                self._remove(entry)
        if entries and not list(found.iter(q(RDF, "li"))):
            self._remove(found)

    def remove(self, namespace: str, name: str) -> None:
        """Remove a property in whatever form it has."""
        for block in self.blocks():
            block.attrib.pop(q(namespace, name), None)
            for found in block.findall(q(namespace, name)):
                self._remove(found)

    def serialise(self) -> bytes:
        """The packet as UTF-8 bytes, processing instructions included."""
        root = self._tree.getroot()
        nodes = [*reversed(list(root.itersiblings(preceding=True))), root, *root.itersiblings()]
        lines = [etree.tostring(node, encoding="utf-8", with_tail=False) for node in nodes]
        declaration = [b'<?xml version="1.0" encoding="UTF-8"?>'] if self._declared else []
        return b"\n".join([*declaration, *lines]) + b"\n"

    def foreign(self, touched: frozenset[tuple[str, str]]) -> list[tuple[str, bytes]]:
        """Everything in the document but the touched properties, canonical, for comparison."""
        return sorted(self._foreign(touched))

    def _foreign(self, touched: frozenset[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
        names = {q(*t) for t in touched} | {q(RDF, "about")}
        for block in self._rdf:
            if not isinstance(block.tag, str):
                continue
            about = block.get(q(RDF, "about"), "")
            for key, value in block.attrib.items():
                if key not in names:
                    yield f"{about}@{key}", value.encode()
            for child in block:
                if isinstance(child.tag, str) and child.tag not in names:
                    yield f"{about}/{child.tag}", _canonical(child)

    def _block_for(self, namespace: str) -> etree._Element:
        """The block that already holds properties of a namespace, else the first, else a new one."""
        blocks = self.blocks()
        for block in blocks:
            if any(isinstance(c.tag, str) and c.tag.startswith(f"{{{namespace}}}") for c in block):
                return block
        for block in blocks:
            if namespace in block.nsmap.values():
                return block
        prefix = next(p for p, uri in PREFIXES.items() if uri == namespace)
        block = etree.SubElement(self._rdf, q(RDF, "Description"), nsmap={prefix: namespace})
        block.set(q(RDF, "about"), blocks[0].get(q(RDF, "about"), "") if blocks else "")
        self._lay_out(block)
        return block

    def _append(self, parent: etree._Element, tag: str, *, first: bool = False) -> etree._Element:
        element = etree.SubElement(parent, tag)
        if first and len(parent) > 1:
            element.tail = parent.text
            parent.insert(0, element)
        else:
            self._lay_out(element)
        return element

    def _lay_out(self, element: etree._Element) -> None:
        """Give a new last child the indentation of its depth."""
        parent = element.getparent()
        depth = sum(1 for _ in element.iterancestors())
        before = element.getprevious()
        indent = "\n" + _INDENT * depth
        if before is None:
            parent.text = indent
        else:
            before.tail = indent
        element.tail = "\n" + _INDENT * (depth - 1)

    @staticmethod
    def _remove(element: etree._Element) -> None:
        parent, before = element.getparent(), element.getprevious()
        if element.getnext() is None:
            if before is not None:
                before.tail = element.tail
            else:
                parent.text = None
        parent.remove(element)


def _canonical(element: etree._Element) -> bytes:
    alone = copy.deepcopy(element)
    alone.tail = None
    for e in alone.iter():
        if len(e):
            e.text = (e.text or "").strip() or None
        e.tail = (e.tail or "").strip() or None
    return etree.tostring(alone, method="c14n", exclusive=True)
