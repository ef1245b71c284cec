"""What makes a caption out of date, in two stages: who is in the photo, and what the VLM says of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.core.boxes import Box
from engine.core.files import sha256_of
from engine.core.types import Concept, Match, Verdict
from engine.recognition.feedback import UserLabels
from engine.recognition.gallery import Gallery
from engine.recognition.recognise import Recognition, look_up
from engine.session import Session
from engine.sidecars.xmp import folded_name
from engine.store.recognition_states import RecognitionState
from engine.vlms.registry import NO_VLM

if TYPE_CHECKING:
    from engine.sidecars.json_sidecar import PhotoRecord

WORDING = 2
"""Raise it when this program's own part in a caption changes (`tasks.py`, `vlms/wording.py`)."""


@dataclass(frozen=True)
class CacheKeys:
    """everyone: recogniser, whom to name, all enrolled concepts with their heads (also those nobody asked for: they
    are rivals), and the thresholds. settings: VLM, prompts. voices: by concept id, its names and its embedding.
    rulings: what the user decided. state: what `everyone` is the digest of; earlier: digests of past states that
    recognised the same, but for concepts forgotten since. unasked: the enrolled concepts that are not looked for this
    time and whose names stay, by id.
    """

    everyone: str
    settings: str
    voices: dict[str, str]
    rulings: UserLabels = field(default_factory=UserLabels)
    state: RecognitionState | None = None
    earlier: tuple[str, ...] = ()
    unasked: Mapping[str, Concept] = field(default_factory=dict)

    def recognition(self, content_hash: str, declined: frozenset[str]) -> str:
        """What the matches of a photo depend on: everyone, what was decided about this photo, and the names that a
        human took out of its sidecar.
        """
        return self._recognition(self.everyone, content_hash, declined)

    def still_holds(self, digest: str, content_hash: str, declined: frozenset[str]) -> bool:
        """Whether a `recognition` digest is of a past state that differs from the present one only in concepts
        forgotten since.
        """
        return any(digest == self._recognition(s, content_hash, declined) for s in self.earlier)

    def _recognition(self, everyone: str, content_hash: str, declined: frozenset[str]) -> str:
        said = sorted((d.concept_id, str(d.verdict), _corners(d.box)) for d in self.rulings.about(content_hash))
        return _digest(everyone, said, sorted(declined)) if said or declined else everyone

    def allowed(self, matches: Iterable[Match], content_hash: str, declined: frozenset[str]) -> tuple[Match, ...]:
        """The matches without the names that a human took out of the photo's sidecar: a name that he removed is not
        to stand in a caption either. What he confirmed is allowed.
        """
        confirmed = {d.concept_id for d in self.rulings.about(content_hash) if d.verdict is Verdict.CONFIRM}
        return tuple(m for m in matches if m.concept_id in confirmed or folded_name(m.name) not in declined)

    def with_kept(
        self, matches: Sequence[Match], known: "PhotoRecord | None", content_hash: str, declined: frozenset[str]
    ) -> tuple[Match, ...]:
        """Add the matches of an earlier run for concepts that this run does not look for; sorted by name.

        Those that the user rejected since, or removed from the sidecar, are left out.
        """
        if known is None or known.facts.content_hash != content_hash:
            return tuple(matches)
        rejected = {d.concept_id for d in self.rulings.about(content_hash) if d.verdict is Verdict.REJECT}
        gone = rejected | {m.concept_id for m in matches}
        kept = [
            replace(m, name=self.unasked[m.concept_id].name, version=self.unasked[m.concept_id].version)
            for m in known.matches
            if m.concept_id in self.unasked and m.concept_id not in gone
        ]
        both = (*matches, *self.allowed(kept, content_hash, declined))
        return tuple(sorted(both, key=lambda m: m.name.casefold())) if kept else tuple(matches)

    def key(self, content_hash: str, matches: Iterable[Match], *, described: bool = True) -> str:
        """What a caption depends on: photo, settings, and what is said of whom was recognised. `described` False is
        for a photo that gets names only.
        """
        said = sorted((m.concept_id, self.voices.get(m.concept_id, "") if described else m.name) for m in matches)
        return _digest(content_hash, self.settings if described else names_only_settings(), said)


def names_only_settings() -> str:
    """Return the settings digest of photos that no VLM describes."""
    return _digest(NO_VLM)


def known_matches(
    session: Session,
    now: CacheKeys,
    enrolled: Gallery,
    document: "PhotoRecord",
    content_hash: str,
    declined: frozenset[str],
    *,
    after_forgetting: bool = False,
) -> Recognition | None:
    """Who is in a photo and may be named, as far as that is known without looking at a pixel: from its JSON sidecar
    while nobody's head changed, else from cached features; None when it is not. `declined`: of `read_removed_names`.

    after_forgetting: where there are no features any more, because a concept was forgotten, the JSON sidecar serves;
    captioning looks again instead, because the concept may have taken another's place.
    """
    facts = document.facts
    same = facts.content_hash == content_hash
    still = {*now.state.wanted, *now.unasked} if now.state else {m.concept_id for m in document.matches}
    recorded = Recognition(tuple(m for m in document.matches if m.concept_id in still))
    if same and document.recognition == now.recognition(content_hash, declined):
        return recorded
    whole = Box(0.0, 0.0, float(facts.width), float(facts.height)) if same else None
    found = look_up(session.extractor, content_hash, enrolled, whole)
    if found is None:
        trusted = same and after_forgetting and now.still_holds(document.recognition, content_hash, declined)
        return recorded if trusted else None
    names = now.with_kept(now.allowed(found.matches, content_hash, declined), document, content_hash, declined)
    return replace(found, matches=names)


def compute_cache_keys(
    session: Session, wanted: Sequence[Concept], judges: Gallery, *, only: bool = False
) -> CacheKeys:
    """The digests of a session's models and store for captions that name `wanted`, whom these judges recognise.

    `only`: what earlier runs found of other concepts does not stay.
    """
    vlm = session.vlm_config
    model = (session.vlm_id, session.vlm_revision)
    everyone = session.store.all() if wanted else ()
    asked = tuple(sorted(c.id for c in wanted))
    state = RecognitionState(
        session.recogniser_config.id if wanted else "",
        asked,
        tuple(sorted((c.id, c.version, session.store.head_fingerprint(c)) for c in everyone)),
        judges.fingerprint,
    )
    return CacheKeys(
        everyone=_digest(state.recogniser, list(asked), list(state.enrolled), judges.fingerprint),
        settings=_digest(
            WORDING, *model, sorted(vlm.requests.items()), vlm.template, vlm.max_new_tokens, vlm.injection
        ),
        voices={c.id: session.store.voice_fingerprint(c, *model) for c in everyone},
        rulings=UserLabels.of(session.store.decisions.all(), everyone) if wanted else UserLabels(),
        state=state,
        earlier=session.store.recognition_states.covering(state),
        unasked={c.id: c for c in everyone if c.id not in asked and not only},
    )


def _corners(box: Box | None) -> tuple[float, ...]:
    return (box.x0, box.y0, box.x1, box.y1) if box else ()


def _digest(*parts: object) -> str:
    return sha256_of(repr(parts).encode())[:24]
