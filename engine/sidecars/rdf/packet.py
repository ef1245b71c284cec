"""Reading and editing an XMP packet in place; everything not ours stays as it is."""

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
    """One parsed XMP document."""

    def __init__(self, data: bytes | None) -> None:
        """Parse a packet, or start an empty one.

        Raises:
            SidecarError: too large, malformed, with a DOCTYPE, not XMP, or about two things at once.
        """
        self.document = Document(EMPTY if data is None else data)
        self._index: dict[str, list[etree._Element]] | None = None
        self._homes: dict[str, etree._Element] = {}
        subjects = {about(b) for b in self.blocks()} - {""}
        if len(subjects) > 1:
            # XMP Specification Part 1, 7.4: all rdf:about are the same. Adobe's toolkit and exiv2 refuse such a file.
            raise SidecarError(f"the sidecar describes two things: {', '.join(sorted(subjects))}")

    def blocks(self) -> list[etree._Element]:
        """The elements that hold properties of the photo: rdf:Description, or a typed node in its place."""
        return [
            e
            for e in self.document.rdf.iterchildren(tag=etree.Element)
            if (e.tag == BLOCK or not e.tag.startswith(_RDF)) and e.get(_NODE_ID) is None
        ]

    def find_all(self, namespace: str, name: str) -> list[Field]:
        """All occurrences of a property: elements, and the texts of attributes. Legal XMP has one at most."""
        tag = q(namespace, name)
        entries = self._indexed().get(tag, ())
        return [e if e.tag == tag else e.get(tag, "") for e in entries]

    def elements(self, tag: str) -> list[etree._Element]:
        """All elements of a property (`{uri}name`); its attribute form is left out."""
        return [e for e in self._indexed().get(tag, ()) if e.tag == tag]

    def forget_index(self) -> None:
        """To be called after properties were added or removed by other means than this class."""
        self._index = None

    def _indexed(self) -> dict[str, list[etree._Element]]:
        """Each property's elements, and for its attribute form the block that has the attribute."""
        if self._index is not None:
            return self._index
        index: dict[str, list[etree._Element]] = {}
        homes: dict[str, etree._Element] = {}
        for block in self.blocks():
            for key in block.keys():  # noqa: SIM118 (lxml's elements iterate over their children)
                index.setdefault(key, []).append(block)
            for child in block.iterchildren(tag=etree.Element):
                tag = child.tag
                index.setdefault(tag, []).append(child)
                homes.setdefault(tag[: tag.find("}") + 1], block)
        self._index, self._homes = index, homes
        return index

    def find(self, namespace: str, name: str) -> Field | None:
        """A property: its element, the text of its attribute form, or None."""
        return next(iter(self.find_all(namespace, name)), None)

    def text(self, namespace: str, name: str) -> str | None:
        """A simple property's text, from either form."""
        found = self.find(namespace, name)
        return found if found is None or isinstance(found, str) else plain_text(found)

    def items(self, namespace: str, name: str) -> list[str]:
        """The texts of an array property (Bag, Seq or Alt); a simple value counts as one item."""
        texts: list[str] = []
        for found in self.find_all(namespace, name):
            array = None if isinstance(found, str) else array_of(found)
            if array is not None:
                texts += [plain_text(e) for e in array.iterchildren(LI)]
            else:
                texts += [t for t in [found if isinstance(found, str) else plain_text(found)] if t.strip()]
        return texts

    def default_text(self, namespace: str, name: str) -> str | None:
        """A language alternative's `x-default` text, else its first text; None when it is absent or empty."""
        for found in self.find_all(namespace, name):
            if isinstance(found, str):
                texts = [found]
            else:
                array = array_of(found)
                entries = [found] if array is None else list(array.iterchildren(LI))
                first = None if array is None else default_entry(array)
                texts = [plain_text(e) for e in sorted(entries, key=lambda e: e is not first)]
            told = next((t for t in texts if t.strip()), None)
            if told is not None:
                return told
        return None

    def set_text(self, namespace: str, name: str, value: str) -> bool:
        """Set a simple property, keeping the form it has; False when it has one that cannot be set."""
        tag = q(namespace, name)
        attribute = next((e for e in self._indexed().get(tag, ()) if e.tag != tag), None)
        if attribute is not None:
            attribute.set(tag, value)
            return True
        found = self.find(namespace, name)
        if found is None:
            found = self._append(self._block_for(namespace), tag)
        if isinstance(found, str) or len(found) or any(k.startswith(_RDF) for k in found.attrib):
            return False
        found.text = value
        return True

    def can_set_default(self, namespace: str, name: str) -> bool:
        """Whether a language alternative's default text can be set or removed without losing anything else."""
        occurrences = self.find_all(namespace, name)
        found = next(iter(occurrences), None)
        if len(occurrences) > 1:
            return False
        if found is None or isinstance(found, str):
            return True
        array = array_of(found)
        entry = found if array is None else default_entry(array)
        return entry is None or is_plain(entry)

    def overwritten_text(self, namespace: str, name: str) -> str:
        """The text that `set_default_text` would overwrite; texts of other languages are not."""
        found = self.find(namespace, name)
        if found is None or isinstance(found, str):
            return found or ""
        array = array_of(found)
        entry = found if array is None else default_entry(array)
        return "" if entry is None else plain_text(entry)

    def set_default_text(self, namespace: str, name: str, value: str) -> bool:
        """Set a language alternative's `x-default` text; other languages stay. False: its form does not allow it."""
        if not self.can_set_default(namespace, name):
            return False
        found = self.find(namespace, name)
        array = None if found is None or isinstance(found, str) else array_of(found)
        if array is None:
            self.remove(namespace, name)  # a simple value holds no languages
            found = self._append(self._block_for(namespace), q(namespace, name))
            array = self._append(found, q(RDF, "Alt"))
        entry = default_entry(array)
        if entry is None:
            entry = self._append(array, LI, first=True)
            entry.set(LANG, "x-default")
        for child in list(entry):  # comments
            entry.remove(child)
        entry.text = value
        return True

    def remove_default_text(self, namespace: str, name: str) -> bool:
        """Remove a language alternative's default text, and the property with its last. False: an unusual form."""
        if not self.can_set_default(namespace, name):
            return False
        found = self.find(namespace, name)
        array = None if found is None or isinstance(found, str) else array_of(found)
        if array is None:
            self.remove(namespace, name)
            return True
        entry = default_entry(array)
        if entry is not None:
            self._remove(entry)
        if not len(array) and len(found) == 1 and not (found.attrib or array.attrib):  # type: ignore[union-attr,arg-type]
            self._remove(found)
        return True

    def add_items(self, namespace: str, name: str, values: Sequence[str], kind: str = "Bag") -> bool:
        """Add items to an array, a new one of a kind (Bag, Seq); False when its form cannot take them."""
        found = self.find(namespace, name)
        if isinstance(found, str) or (found is not None and array_of(found) is None):
            if (found if isinstance(found, str) else plain_text(found)).strip() or not is_blank(found):
                return False
            self.remove(namespace, name)
            found = None
        if found is None:
            found = self._append(self._block_for(namespace), q(namespace, name))
            self._append(found, q(RDF, kind))
        array = array_of(found)
        if array is None or array.attrib or any(e.tag != LI for e in array.iterchildren(tag=etree.Element)):
            return False
        for value in values:
            self._append(array, LI).text = value
        return True

    def remove_items(self, namespace: str, name: str, values: Collection[str]) -> list[str]:
        """Remove one item for each value, only bare ones; an array that is left empty goes with its property."""
        wanted = [term_key(v) for v in values]
        removed: list[str] = []
        for found in self.find_all(namespace, name):
            array = None if isinstance(found, str) else array_of(found)
            if isinstance(found, str) or array is None:
                continue
            for entry in list(array.iterchildren(LI)):
                key = term_key(plain_text(entry))
                if key in wanted and not len(entry) and not entry.attrib:
                    wanted.remove(key)
                    removed.append(key)
                    self._remove(entry)
            if removed and not len(array) and len(found) == 1 and not (found.attrib or array.attrib):
                self._remove(found)
        return removed

    def remove(self, namespace: str, name: str) -> None:
        """Remove a property in whatever form it has."""
        tag = q(namespace, name)
        for found in list(self._indexed().get(tag, ())):
            if found.tag == tag:
                self._remove(found)
            else:
                found.attrib.pop(tag, None)
        self._indexed().pop(tag, None)

    def remove_empty_blocks(self) -> None:
        """Remove blocks without properties, unless what they are about would be lost."""
        for block in self.blocks():
            rest = [about(b) for b in self.blocks() if b is not block]
            bare = not len(block) and not (block.text or "").strip() and set(block.attrib) <= {ABOUT}
            if bare and block.tag == BLOCK and about(block) in ("", *rest):
                self._remove(block)
        self.forget_index()

    def serialise(self) -> bytes:
        """The packet as UTF-8 bytes, processing instructions included."""
        return self.document.serialise()

    def _block_for(self, namespace: str) -> etree._Element:
        """The block that already holds properties of a namespace, else one that knows it, else a new one."""
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

    def _remove(self, element: etree._Element) -> None:
        entries = self._indexed().get(element.tag, [])
        if element in entries:
            entries.remove(element)
        detach(element)
