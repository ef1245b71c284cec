"""Read and edit an XMP packet in place; everything that is not edited stays as it is."""

from collections.abc import Collection, Sequence

from lxml import etree

from engine.core.errors import SidecarError
from engine.sidecars.rdf.forms import (
    ABOUT,
    BLOCK,
    ID,
    LANG,
    LI,
    Field,
    about,
    append,
    array_of,
    attributes,
    default_entry,
    detach,
    is_blank,
    is_plain,
    plain_text,
    term_key,
)
from engine.sidecars.rdf.namespaces import PREFIXES, RDF, X, q
from engine.sidecars.rdf.parsing import Document

EMPTY = (
    f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="{X}" x:xmptk="myvlm">\n'
    f' <rdf:RDF xmlns:rdf="{RDF}">\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
).encode()
_NODE_ID = q(RDF, "nodeID")
_RDF = f"{{{RDF}}}"
_PREFIX_OF = {uri: prefix for prefix, uri in PREFIXES.items()}


class Packet:
    """A parsed XMP document with an index of its properties."""

    def __init__(self, data: bytes | None) -> None:
        """Parse a packet, or start an empty one.

        Raises:
            SidecarError: too large, malformed, with a DOCTYPE, not XMP, or about two subjects.
        """
        self.document = Document(EMPTY if data is None else data)
        self._index: dict[str, list[etree._Element]] | None = None
        self._homes: dict[str, etree._Element] = {}
        subjects = {about(b) for b in self.blocks()} - {""}
        if len(subjects) > 1:
            # XMP Specification Part 1, 7.4: all rdf:about are the same. Adobe's toolkit and exiv2 refuse such a file.
            raise SidecarError(f"the sidecar describes two things: {', '.join(sorted(subjects))}")

    def blocks(self) -> list[etree._Element]:
        """Return the elements that hold properties of the photo: rdf:Description, or a typed node in its place."""
        return [
            e
            for e in self.document.rdf.iterchildren(tag=etree.Element)
            if (e.tag == BLOCK or not e.tag.startswith(_RDF)) and e.get(_NODE_ID) is None
        ]

    def find_all(self, namespace: str, name: str) -> list[Field]:
        """Return all occurrences of a property: elements, and texts of attributes. Legal XMP has at most one."""
        tag = q(namespace, name)
        entries = self._indexed().get(tag, ())
        return [e if e.tag == tag else e.get(tag, "") for e in entries]

    def elements(self, tag: str) -> list[etree._Element]:
        """Return all elements of a property (`{uri}name`), without attributes of that name."""
        return [e for e in self._indexed().get(tag, ()) if e.tag == tag]

    def forget_index(self) -> None:
        """Drop the index; call it after adding or removing properties by other means than this class."""
        self._index = None

    def _indexed(self) -> dict[str, list[etree._Element]]:
        """Return the elements of each property, and for an attribute the block that has it."""
        if self._index is not None:
            return self._index
        index: dict[str, list[etree._Element]] = {}
        homes: dict[str, etree._Element] = {}
        for block in self.blocks():
            for key in attributes(block):
                index.setdefault(key, []).append(block)
            for child in block.iterchildren(tag=etree.Element):
                tag = child.tag
                index.setdefault(tag, []).append(child)
                homes.setdefault(tag[: tag.find("}") + 1], block)
        self._index, self._homes = index, homes
        return index

    def find(self, namespace: str, name: str) -> Field | None:
        """Return a property: its element, the text of its attribute, or None."""
        return next(iter(self.find_all(namespace, name)), None)

    def text(self, namespace: str, name: str) -> str | None:
        """Return the text of a simple property, an element or an attribute; None if it is absent."""
        value = self.find(namespace, name)
        return value if value is None or isinstance(value, str) else plain_text(value)

    def items(self, namespace: str, name: str) -> list[str]:
        """Return the texts of an array property (Bag, Seq or Alt); a simple value counts as one item."""
        texts: list[str] = []
        for value in self.find_all(namespace, name):
            array = array_of(value)
            if array is not None:
                texts += [plain_text(e) for e in array.iterchildren(LI)]
            else:
                texts += [t for t in [value if isinstance(value, str) else plain_text(value)] if t.strip()]
        return texts

    def default_text(self, namespace: str, name: str) -> str | None:
        """Return the `x-default` text of a language alternative, else its first text; None if it is absent or empty."""
        for value in self.find_all(namespace, name):
            text = next((t for t in _alternatives(value) if t.strip()), None)
            if text is not None:
                return text
        return None

    def set_text(self, namespace: str, name: str, value: str) -> bool:
        """Set a simple property in the form that it has; return False if that form cannot be set."""
        tag = q(namespace, name)
        attribute = next((e for e in self._indexed().get(tag, ()) if e.tag != tag), None)
        if attribute is not None:
            attribute.set(tag, value)
            return True
        element = next(iter(self.elements(tag)), None)
        if element is None:
            element = self._append(self._block_for(namespace), tag)
        if len(element) or any(k.startswith(_RDF) for k in attributes(element)):
            return False
        element.text = value
        return True

    def can_set_default(self, namespace: str, name: str) -> bool:
        """Return whether the default text of a language alternative can be replaced without losing anything else."""
        occurrences = self.find_all(namespace, name)
        if len(occurrences) > 1:
            return False
        entry = _default_element(next(iter(occurrences), None))
        return entry is None or is_plain(entry)

    def overwritten_text(self, namespace: str, name: str) -> str:
        """Return the text that `set_default_text` would overwrite; it keeps texts of other languages."""
        value = self.find(namespace, name)
        if isinstance(value, str):
            return value
        entry = _default_element(value)
        return "" if entry is None else plain_text(entry)

    def set_default_text(self, namespace: str, name: str, value: str) -> bool:
        """Set the `x-default` text of a language alternative, keep the others; return False if its form prevents it."""
        if not self.can_set_default(namespace, name):
            return False
        array = array_of(self.find(namespace, name))
        if array is None:
            self.remove(namespace, name)  # a simple value holds no languages
            array = self._append(self._append(self._block_for(namespace), q(namespace, name)), q(RDF, "Alt"))
        entry = default_entry(array)
        if entry is None:
            entry = self._append(array, LI, first=True)
            entry.set(LANG, "x-default")
        for child in list(entry):  # comments
            entry.remove(child)
        entry.text = value
        return True

    def remove_default_text(self, namespace: str, name: str) -> bool:
        """Remove the default text of a language alternative, and the property with its last text.

        Return False if its form prevents it.
        """
        if not self.can_set_default(namespace, name):
            return False
        element = next(iter(self.elements(q(namespace, name))), None)
        array = array_of(element)
        if element is None or array is None:
            self.remove(namespace, name)
            return True
        entry = default_entry(array)
        if entry is not None:
            self._remove(entry)
        self._remove_if_empty(element, array)
        return True

    def add_items(self, namespace: str, name: str, values: Sequence[str], kind: str = "Bag") -> bool:
        """Add items to an array, which is begun as a `kind` (Bag, Seq); return False if its form cannot take them."""
        value = self.find(namespace, name)
        array = array_of(value)
        if value is not None and array is None:
            if (value if isinstance(value, str) else plain_text(value)).strip() or not is_blank(value):
                return False
            self.remove(namespace, name)
        if array is None:
            array = self._append(self._append(self._block_for(namespace), q(namespace, name)), q(RDF, kind))
        if array is None or array.attrib or any(e.tag != LI for e in array.iterchildren(tag=etree.Element)):
            return False
        for value in values:
            self._append(array, LI).text = value
        return True

    def remove_items(self, namespace: str, name: str, values: Collection[str]) -> list[str]:
        """Remove one item for each value; return the removed values. Items with attributes or children stay.

        A property whose array is left empty is removed.
        """
        wanted = [term_key(v) for v in values]
        removed: list[str] = []
        for element in self.elements(q(namespace, name)):
            array = array_of(element)
            if array is None:
                continue
            for entry in list(array.iterchildren(LI)):
                key = term_key(plain_text(entry))
                if key in wanted and not len(entry) and not entry.attrib:
                    wanted.remove(key)
                    removed.append(key)
                    self._remove(entry)
            if removed:
                self._remove_if_empty(element, array)
        return removed

    def remove(self, namespace: str, name: str) -> None:
        """Remove a property in whatever form it has."""
        tag = q(namespace, name)
        for element in list(self._indexed().get(tag, ())):
            if element.tag == tag:
                self._remove(element)
            else:
                element.attrib.pop(tag, "")
        self._indexed().pop(tag, None)

    def remove_empty_blocks(self) -> None:
        """Remove blocks without properties, unless the subject of the document would be lost."""
        for block in self.blocks():
            rest = [about(b) for b in self.blocks() if b is not block]
            bare = not len(block) and not (block.text or "").strip() and set(attributes(block)) <= {ABOUT}
            if bare and block.tag == BLOCK and about(block) in ("", *rest):
                self._remove(block)
        self.forget_index()

    def serialise(self) -> bytes:
        """Return the packet as UTF-8 bytes with its processing instructions."""
        return self.document.serialise()

    def _block_for(self, namespace: str) -> etree._Element:
        """Return the block that holds properties of a namespace, else one that declares it, else a new one."""
        self._indexed()
        home = self._homes.get(f"{{{namespace}}}")
        if home is not None:
            return home
        blocks = self.blocks()
        for block in blocks:
            if namespace in block.nsmap.values():
                return block
        if blocks and blocks[0].get(ID) is not None:
            return blocks[0]
        block = append(self.document.rdf, BLOCK, {_PREFIX_OF[namespace]: namespace})
        block.set(ABOUT, next((a for b in blocks if (a := about(b))), ""))
        return block

    def _append(self, parent: etree._Element, tag: str, *, first: bool = False) -> etree._Element:
        uri = tag[1 : tag.find("}")]
        known = uri == RDF or uri in parent.nsmap.values()
        element = append(parent, tag, None if known else {_PREFIX_OF[uri]: uri}, first=first)
        if parent.getparent() is self.document.rdf:
            self._indexed().setdefault(tag, []).append(element)
            self._homes.setdefault(f"{{{uri}}}", parent)
        return element

    def _remove_if_empty(self, element: etree._Element, array: etree._Element) -> None:
        """Remove a property whose array has no items and no attributes."""
        if not len(array) and len(element) == 1 and not (element.attrib or array.attrib):
            self._remove(element)

    def _remove(self, element: etree._Element) -> None:
        entries = self._indexed().get(element.tag, [])
        if element in entries:
            entries.remove(element)
        detach(element)


def _default_element(value: Field | None) -> etree._Element | None:
    """Return the element that holds the default text of a language alternative; None if there is none yet."""
    if value is None or isinstance(value, str):
        return None
    array = array_of(value)
    return value if array is None else default_entry(array)


def _alternatives(value: Field) -> list[str]:
    """Return the texts of a language alternative, the default one first."""
    if isinstance(value, str):
        return [value]
    array = array_of(value)
    if array is None:
        return [plain_text(value)]
    first = default_entry(array)
    return [plain_text(e) for e in sorted(array.iterchildren(LI), key=lambda e: e is not first)]
