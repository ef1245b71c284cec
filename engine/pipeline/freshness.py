"""What makes a caption out of date, in two stages: who is in the photo, and what the VLM says of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.boxes import Box
from engine.files import sha256_of
from engine.pipeline.recognition import Enrolled, recognise_known
from engine.pipeline.rulings import Rulings
from engine.pipeline.session import Session
from engine.sidecars.reading import naming_file, read_sidecar
from engine.sidecars.xmp import name_key, read_declined
from engine.types import Concept, Match, Verdict

if TYPE_CHECKING:
    from engine.sidecars.json_sidecar import Document

WORDING = 1
"""Raise it when this program's own part in a caption changes (`tasks.py`, `vlms/wording.py`)."""


@dataclass(frozen=True)
class Digests:
    """everyone: recogniser, whom to name, all enrolled concepts with their heads (also those nobody asked for: they
    are rivals), and the thresholds. settings: VLM, prompts. voices: by concept id, its names and its embedding.
    rulings: what the user decided.
    """

    everyone: str
    settings: str
    voices: dict[str, str]
    rulings: Rulings = field(default_factory=Rulings)

    def recognition(self, content_hash: str, declined: frozenset[str]) -> str:
        """What the matches of a photo depend on: everyone, what was decided about this photo, and the names that a
        human took out of its sidecar.
        """
        said = sorted((d.concept_id, str(d.verdict), _corners(d.box)) for d in self.rulings.about(content_hash))
        return _digest(self.everyone, said, sorted(declined)) if said or declined else self.everyone

    def allowed(self, matches: Iterable[Match], content_hash: str, declined: frozenset[str]) -> tuple[Match, ...]:
        """The matches without the names that a human took out of the photo's sidecar: a name that he removed is not
        to stand in a caption either. What he confirmed is allowed.
        """
        confirmed = {d.concept_id for d in self.rulings.about(content_hash) if d.verdict is Verdict.CONFIRM}
        return tuple(m for m in matches if m.concept_id in confirmed or name_key(m.name) not in declined)

    def key(self, content_hash: str, matches: Iterable[Match]) -> str:
        """What a caption depends on: photo, settings, and what is said of whom was recognised."""
        said = sorted((m.concept_id, self.voices.get(m.concept_id, "")) for m in matches)
        return _digest(content_hash, self.settings, said)


def known_matches(
    session: Session,
    now: Digests,
    enrolled: Enrolled,
    document: "Document",
    content_hash: str,
    declined: frozenset[str],
) -> tuple[Match, ...] | None:
    """Who is in a photo and may be named, as far as that is known without looking at a pixel: from its JSON sidecar
    while nobody's head changed, else from cached features; None when it is not. `declined` as `read_declined` has it.
    """
    facts = document.facts
    same = facts.content_hash == content_hash
    if same and document.recognition == now.recognition(content_hash, declined):
        return document.matches
    whole = Box(0.0, 0.0, float(facts.width), float(facts.height)) if same else None
    found = recognise_known(session, content_hash, enrolled, whole)
    return None if found is None else now.allowed(found, content_hash, declined)


def read_names_taken_out(xmp: Path) -> frozenset[str]:
    """The keys of the names that a human took out of a photo's XMP sidecar; none where there is no sidecar.

    Raises:
        SidecarError: the sidecar cannot be read, so that nothing can be written into it either.
    """
    data = read_sidecar(xmp)
    with naming_file(xmp):
        return frozenset() if data is None else read_declined(data)


def digests(session: Session, wanted: Sequence[Concept], judges: Enrolled) -> Digests:
    """The digests of a session's models and store for captions that name `wanted`, whom these judges recognise."""
    vlm = session.vlm_config
    model = (session.vlm_id, session.vlm_revision)
    everyone = session.store.all() if wanted else ()
    enrolled = sorted((c.id, c.version, session.store.head_fingerprint(c)) for c in everyone)
    recogniser = session.recogniser_config.id if wanted else ""
    return Digests(
        everyone=_digest(recogniser, sorted(c.id for c in wanted), enrolled, judges.fingerprint),
        settings=_digest(
            WORDING, *model, sorted(vlm.requests.items()), vlm.template, vlm.max_new_tokens, vlm.injection
        ),
        voices={c.id: session.store.voice_fingerprint(c, *model) for c in wanted},
        rulings=Rulings.of(session.store.decisions.all(), everyone) if wanted else Rulings(),
    )


def _corners(box: Box | None) -> tuple[float, ...]:
    return (box.x0, box.y0, box.x1, box.y1) if box else ()


def _digest(*parts: object) -> str:
    return sha256_of(repr(parts).encode())[:24]
