"""Decide what makes a caption out of date, in two stages: which concepts are in the photo, and what the VLM says of
them (docs/decisions.md#two-cache-keys).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.captioning.requested_concepts import RequestedConcepts
from engine.captioning.speaking import Speaking
from engine.core.boxes import Box
from engine.core.files import sha256_of
from engine.core.types import Concept, Match, Verdict
from engine.recognition.feedback import UserLabels
from engine.recognition.gallery import Gallery
from engine.recognition.recognise import Recognition, look_up
from engine.sidecars.json_sidecar import PhotoRecord
from engine.sidecars.xmp import folded_name
from engine.store.concepts import ConceptStore
from engine.store.recognition_states import RecognitionState
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vlms.in_use import VlmInUse
from engine.vlms.quantise import quantise_option
from engine.vlms.registry import NO_VLM
from engine.vlms.requests import CaptionForm

WORDING = 2
"""Version of this program's own part in a caption (`vlms/captions.py`, `vlms/repair.py`). It is raised, which makes
captions out of date, where those that were written before should not stay.
"""


@dataclass(frozen=True)
class CacheKeys:
    """What recognition and captions depend on, as digests.

    recognition_key: recogniser, requested concepts, all enrolled concepts with their heads (also those not requested:
    they are rivals), and thresholds. settings: VLM and prompts. concept_keys: by concept id, its names and embedding.
    labels: what the user confirmed and rejected. state: what `recognition_key` is the digest of. earlier_keys: digests
    of past states that recognised the same but for concepts that were forgotten since. unrequested: by id, the enrolled
    concepts that this run does not look for and whose names stay.
    """

    recognition_key: str
    settings: str
    concept_keys: Mapping[str, str]
    labels: UserLabels = field(default_factory=UserLabels)
    state: RecognitionState | None = None
    earlier_keys: tuple[str, ...] = ()
    unrequested: Mapping[str, Concept] = field(default_factory=dict)

    def recognition(self, content_hash: str, removed_names: frozenset[str]) -> str:
        """Return the digest of what the matches of a photo depend on.

        That is `recognition_key`, the user's decisions about the photo, and the names that the user removed from its
        sidecar.
        """
        return self._recognition(self.recognition_key, content_hash, removed_names)

    def still_holds(self, digest: str, content_hash: str, removed_names: frozenset[str]) -> bool:
        """Whether a `recognition` digest belongs to a past state that differs only in concepts forgotten since."""
        return any(digest == self._recognition(key, content_hash, removed_names) for key in self.earlier_keys)

    def _recognition(self, key: str, content_hash: str, removed_names: frozenset[str]) -> str:
        decisions = sorted((d.concept_id, str(d.verdict), _corners(d.box)) for d in self.labels.about(content_hash))
        return _digest(key, decisions, sorted(removed_names)) if decisions or removed_names else key

    def without_removed(
        self, matches: Iterable[Match], content_hash: str, removed_names: frozenset[str]
    ) -> tuple[Match, ...]:
        """Leave out the matches whose names the user removed from the photo's sidecar, unless the user confirmed them.

        A name that the user removed must not appear in a caption either.
        """
        confirmed = {d.concept_id for d in self.labels.about(content_hash) if d.verdict is Verdict.CONFIRM}
        return tuple(m for m in matches if m.concept_id in confirmed or folded_name(m.name) not in removed_names)

    def with_unrequested(
        self, matches: Sequence[Match], record: PhotoRecord | None, content_hash: str, removed_names: frozenset[str]
    ) -> tuple[Match, ...]:
        """Add an earlier run's matches of concepts that this run does not look for; sorted by name.

        Those that the user rejected since, or removed from the sidecar, are left out.
        """
        if record is None or record.facts.content_hash != content_hash:
            return tuple(matches)
        rejected = {d.concept_id for d in self.labels.about(content_hash) if d.verdict is Verdict.REJECT}
        excluded = rejected | {m.concept_id for m in matches}
        kept = [
            replace(m, name=self.unrequested[m.concept_id].name, version=self.unrequested[m.concept_id].version)
            for m in record.matches
            if m.concept_id in self.unrequested and m.concept_id not in excluded
        ]
        both = (*matches, *self.without_removed(kept, content_hash, removed_names))
        return tuple(sorted(both, key=lambda m: m.name.casefold())) if kept else tuple(matches)

    def caption_key(
        self, content_hash: str, matches: Iterable[Match], *, described: bool = True, context: str = ""
    ) -> str:
        """Return the digest of what a caption depends on: photo, settings, and the recognised concepts.

        described: False for a photo that gets names only. context: what the VLM is told of date and place.
        """
        concepts = sorted(
            (m.concept_id, self.concept_keys.get(m.concept_id, "") if described else m.name) for m in matches
        )
        parts = (content_hash, self.settings if described else names_only_settings(), concepts)
        return _digest(*parts, context) if context else _digest(*parts)


def names_only_settings() -> str:
    """Return the settings digest of photos that no VLM describes."""
    return _digest(NO_VLM)


def compute_cache_keys(
    store: ConceptStore,
    config: RecogniserConfig,
    vlm: VlmInUse,
    concepts: RequestedConcepts,
    gallery: Gallery,
    *,
    only: bool = False,
    form: CaptionForm | None = None,
) -> CacheKeys:
    """Compute the cache keys of a run.

    only: earlier matches of concepts that are not requested do not stay. form: of the captions, without their context.
    """
    requested = concepts.requested
    enrolled = concepts.enrolled.concepts if requested else ()
    requested_ids = tuple(sorted(c.id for c in requested))
    state = RecognitionState(
        config.id if requested else "",
        requested_ids,
        tuple(sorted((c.id, c.version, store.head_fingerprint(c)) for c in enrolled)),
        gallery.fingerprint,
    )
    return CacheKeys(
        recognition_key=_digest(state.recogniser, list(requested_ids), list(state.enrolled), gallery.fingerprint),
        settings=_vlm_settings(vlm, form or CaptionForm()),
        concept_keys={c.id: _concept_key(store, c, vlm, concepts) for c in enrolled},
        labels=gallery.labels if requested else UserLabels(),
        state=state,
        earlier_keys=store.recognition_states.covering(state),
        unrequested={c.id: c for c in enrolled if c.id not in requested_ids and not only},
    )


def _vlm_settings(vlm: VlmInUse, form: CaptionForm) -> str:
    """Return the digest of the VLM's prompts and settings.

    What only chat VLMs and other forms have is left out where it is not used, so that captions of the VLMs of the paper
    stay up to date.
    """
    config = vlm.config
    parts = (
        WORDING,
        vlm.id,
        vlm.revision,
        sorted(config.requests.items()),
        config.template,
        config.max_new_tokens,
        config.injection,
    )
    chat = (config.chat, config.naming, vlm.speak, quantise_option(vlm.precision)) if config.chat else ()
    return _digest(*parts, *chat, *(() if form.is_plain else (form,)))


def _concept_key(store: ConceptStore, concept: Concept, vlm: VlmInUse, concepts: RequestedConcepts) -> str:
    """Return the digest of what decides the VLM's words for a concept: its names and embedding, and the wording with
    which the VLM is told of it by text, if it is.
    """
    key = store.caption_fingerprint(concept, vlm.id, vlm.revision)
    speaking = Speaking(vlm.config, vlm.speak, concepts.embeddings)
    by_text = speaking.way(concept.id) in ("names", "both")
    return _digest(key, vlm.config.naming, vlm.speak) if by_text else key


def find_known_matches(
    keys: CacheKeys,
    gallery: Gallery,
    extractor: CachedExtractor,
    record: PhotoRecord,
    content_hash: str,
    removed_names: frozenset[str],
    *,
    after_forgetting: bool = False,
) -> Recognition | None:
    """Find the concepts of a photo without decoding it: from its JSON sidecar while no head changed, else from cached
    features; None where neither tells.

    removed_names: of `load_removed_names`. after_forgetting: where a concept was forgotten and there are no features
    any more, the JSON sidecar serves. Captioning decodes the photo instead, because the forgotten concept may have kept
    another one from being named.
    """
    facts = record.facts
    same_picture = facts.content_hash == content_hash
    enrolled = {*keys.state.requested, *keys.unrequested} if keys.state else {m.concept_id for m in record.matches}
    recorded = Recognition(tuple(m for m in record.matches if m.concept_id in enrolled))
    if same_picture and record.recognition == keys.recognition(content_hash, removed_names):
        return recorded
    whole = Box(0.0, 0.0, float(facts.width), float(facts.height)) if same_picture else None
    recognition = look_up(extractor, content_hash, gallery, whole)
    if recognition is None:
        holds = same_picture and after_forgetting and keys.still_holds(record.recognition, content_hash, removed_names)
        return recorded if holds else None
    return replace(recognition, matches=finish_matches(keys, recognition.matches, record, content_hash, removed_names))


def finish_matches(
    keys: CacheKeys,
    matches: Sequence[Match],
    record: PhotoRecord | None,
    content_hash: str,
    removed_names: frozenset[str],
) -> tuple[Match, ...]:
    """Leave out the names that the user removed, and add an earlier run's matches of concepts not requested now."""
    allowed = keys.without_removed(matches, content_hash, removed_names)
    return keys.with_unrequested(allowed, record, content_hash, removed_names)


def _corners(box: Box | None) -> tuple[float, ...]:
    return (box.x0, box.y0, box.x1, box.y1) if box else ()


def _digest(*parts: object) -> str:
    return sha256_of(repr(parts).encode())[:24]
