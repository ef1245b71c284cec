"""Values that go into a merge of an XMP sidecar and come out of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.core.notes import Note
from engine.sidecars.merge.ownership import DESCRIPTION, LABELS, RECORDS, REGIONS, TIFF_DESCRIPTION
from engine.sidecars.merge.terms import NameRules
from engine.sidecars.rdf.forms import MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import NamedRegion, read_regions

_PLAIN = tuple((MYVLM, name) for name in ("SchemaVersion", "VLM", "Settings", "Concepts"))
_OWN_PREFIX = "myvlm:"


@dataclass(frozen=True)
class SidecarContent:
    """What an XMP sidecar is to say about a photo.

    A name that myvlm wrote earlier is removed if it is neither in `names` nor in `unrequested`: the concept was looked
    for and not recognised, or it was forgotten.

    caption: None if there is none; a caption that myvlm wrote earlier is removed then, and `vlm` is None.
    names: of all accepted concepts, for dc:subject. people: of the people among them, for Iptc4xmpExt:PersonInImage.
    hierarchy: "People|Anna" of each, for lr:hierarchicalSubject and digiKam:TagsList. concepts: "id@version" of each.
    vlm: "repository id@revision". settings: digest of prompt and settings. run: id of the run, written only if
    something else changes. regions: None leaves existing regions as they are. dimensions: width and height of the
    stored picture, required for regions. unrequested: names of concepts that this run does not look for; what myvlm
    wrote about them stays. unrequested_ids: ids of these concepts.
    """

    caption: str | None
    names: tuple[str, ...]
    people: tuple[str, ...]
    hierarchy: tuple[str, ...]
    concepts: tuple[str, ...]
    vlm: str | None
    settings: str
    run: str = ""
    regions: tuple[NamedRegion, ...] | None = None
    dimensions: tuple[int, int] | None = None
    unrequested: frozenset[str] = frozenset()
    unrequested_ids: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a caption nor a name to write."""
        return self.caption is None and not self.names

    def without_removed(self, rules: NameRules) -> "SidecarContent":
        """Leave out the names that the user removed from the sidecar."""
        if not rules.removed:
            return self
        return replace(
            self,
            names=tuple(n for n in self.names if rules.allows(n)),
            people=tuple(n for n in self.people if rules.allows(n)),
            hierarchy=tuple(h for h in self.hierarchy if rules.allows(h.rsplit("|", 1)[-1])),
            regions=None if self.regions is None else tuple(r for r in self.regions if rules.allows(r.name)),
        )


@dataclass(frozen=True)
class Policy:
    """How far a merge may go.

    replace_all: replace a description that the user wrote. hierarchy: begin lr:hierarchicalSubject.
    """

    replace_all: bool = False
    hierarchy: bool = False


DEFAULT_POLICY = Policy()


@dataclass(frozen=True)
class Change:
    """A property that a merge changes, with its label ("dc:description") and its values in readable form."""

    property: str
    before: str
    after: str


@dataclass(frozen=True)
class Merge:
    """Result of a merge: the new bytes (None if nothing changes), notes for the user, and the changed properties."""

    data: bytes | None
    notes: tuple[Note, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def changes_description(self) -> bool:
        """Whether dc:description changes."""
        return any(c.property == LABELS[DESCRIPTION] for c in self.changes)


def compare(before: dict[str, str], after: dict[str, str]) -> tuple[Change, ...]:
    """List the differences between two results of `readable_values`."""
    return tuple(Change(k, before.get(k, ""), after[k]) for k in after if before.get(k, "") != after[k])


def readable_values(packet: Packet) -> dict[str, str]:
    """Return the values of the properties that a merge may change, by label."""
    values = {LABELS[n]: packet.default_text(*n) or "" for n in (DESCRIPTION, TIFF_DESCRIPTION)}
    arrays = {name: ", ".join(texts) for name, texts in packet.items_of((*RECORDS, *_PLAIN)).items()}
    values |= {LABELS[n]: arrays[n] for n in RECORDS}
    values[LABELS[REGIONS]] = _list_regions(read_regions(packet)) if packet.find(*REGIONS) is not None else ""
    return values | {f"{_OWN_PREFIX}{n[1]}": arrays[n] for n in _PLAIN}


def _list_regions(regions: Sequence[NamedRegion]) -> str:
    return ", ".join(f"{r.name} ({r.type})" for r in regions)
