"""Read and edit an XMP packet in place; everything that is not edited stays as it is."""

from collections.abc import Collection, Iterable, Sequence

from lxml import etree

from engine.core.errors import SidecarError
from engine.sidecars.rdf.forms import (
    ABOUT,
    BLOCK,
    ID,
    LANG,
    LI,
    PREFIXES,
    RDF,
    Field,
    X,
    about,
    alternatives,
    append,
    append_items,
    array_of,
    default_element,
    default_entry,
    detach,
    is_blank,
    is_plain,
    item_texts,
    plain_text,
    q,
    subjects,
    term_key,
)
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
        described = set(subjects(self.blocks()))
        if len(described) > 1:
            # XMP Specification Part 1, 7.4: all rdf:about are the same. Adobe's toolkit and exiv2 refuse such a file.
            raise SidecarError(f"the sidecar describes two things: {', '.join(sorted(described))}")

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

    def has_any(self, tags: Iterable[str]) -> bool:
        """Return whether there is any of these properties (`{uri}name`)."""
        index = self._indexed()
        return any(index.get(tag) for tag in tags)

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
            for key in map(str, block.attrib):
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
        present = self.find_all(namespace, name)
        return item_texts(present) if present else []

    def items_of(self, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
        """Return the texts of several array properties by namespace and name."""
        return {name: self.items(*name) for name in names}

    def default_text(self, namespace: str, name: str) -> str | None:
        """Return the `x-default` text of a language alternative, else its first text; None if it is absent or empty."""
        present = self.find_all(namespace, name)
        return next((text for value in present for text in alternatives(value) if text.strip()), None)

    def set_text(self, namespace: str, name: str, value: str) -> bool:
        """Set a simple property in the form that it has; return False if that form cannot be set."""
        tag = q(namespace, name)
        attribute = next((e for e in self._indexed().get(tag, ()) if e.tag != tag), None)
        if attribute is not None:
            attribute.set(tag, value)
            return True
        elements = self.elements(tag)
        element = elements[0] if elements else self._append(self._block_for(namespace), tag)
        if len(element) or any(str(k).startswith(_RDF) for k in element.attrib):
            return False
        element.text = value
        return True

    def can_set_default(self, namespace: str, name: str) -> bool:
        """Return whether the default text of a language alternative can be replaced without losing anything else."""
        occurrences = self.find_all(namespace, name)
        if len(occurrences) > 1:
            return False
        entry = default_element(next(iter(occurrences), None))
        return entry is None or is_plain(entry)

    def overwritten_text(self, namespace: str, name: str) -> str:
        """Return the text that `set_default_text` would overwrite; it keeps texts of other languages."""
        value = self.find(namespace, name)
        if isinstance(value, str):
            return value
        entry = default_element(value)
        return "" if entry is None else plain_text(entry)

    def set_default_text(self, namespace: str, name: str, value: str) -> bool:
        """Set the `x-default` text of a language alternative, keep the others; return False if its form prevents it."""
        if not self.can_set_default(namespace, name):
            return False
        array = array_of(self.find(namespace, name))
        if array is None:
            self.remove(namespace, name)  # a simple value holds no languages
            array = append(self._append(self._block_for(namespace), q(namespace, name)), q(RDF, "Alt"))
        entry = default_entry(array)
        if entry is None:
            entry = append(array, LI, first=True)
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
            array = append(self._append(self._block_for(namespace), q(namespace, name)), q(RDF, kind))
        if array is None or array.attrib or any(e.tag != LI for e in array.iterchildren(tag=etree.Element)):
            return False
        append_items(array, values)
        return True

    def replace_items(self, namespace: str, name: str, values: Sequence[str]) -> None:
        """Make an array hold only these items; without any, it is removed."""
        if self.items(namespace, name) != list(values):
            self.remove(namespace, name)
            if values:
                self.add_items(namespace, name, values)

    def replace_text(self, namespace: str, name: str, value: str | None) -> None:
        """Make a simple property hold this text, whatever form it had; None removes it."""
        if self.text(namespace, name) != value and (value is None or not self.set_text(namespace, name, value)):
            self.remove(namespace, name)
            if value is not None:
                self.set_text(namespace, name, value)

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
            bare = not len(block) and not (block.text or "").strip() and set(block.attrib) <= {ABOUT}
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
        block.set(ABOUT, next(iter(subjects(blocks)), ""))
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
