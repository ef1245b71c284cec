"""What training says of a concept's photos: captions, variations of them, questions and answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from engine.core.class_words import GENERIC, PEOPLE, nouns_of
from engine.core.errors import NoUsablePhotoError, PhotoError, UsageError
from engine.core.types import Concept, Kind, Reference
from engine.photos.decode import load_photo
from engine.session import Session
from engine.training.captions import (
    REPHRASE,
    accept_variation,
    check_coverage,
    load_captions,
    name_in_caption,
    shared_noun,
    vary,
    with_identifier,
)
from engine.training.questions import Turn, load_answers, name_in_answer, questions_for
from engine.vision.regions import crop
from engine.vlms.wording import noun_phrases, replace_names

_WORKING_EDGE = 2
_ROOM, _ROOM_AROUND_FACE = 1.2, 3.0
"""How much of the photo around a concept's box its close-up takes in."""


@dataclass(frozen=True)
class TrainingPhoto:
    """A reference photo at working size, its box in those pixels."""

    path: Path
    image: Image.Image
    reference: Reference


@dataclass(frozen=True)
class TrainingExample:
    """What is said of one training photo: captions, and questions with their answers (none for captioning)."""

    photo: TrainingPhoto
    captions: tuple[str, ...]
    questions: tuple[Turn, ...] = ()


def load_references(session: Session, concept: Concept) -> tuple[list[TrainingPhoto], list[str]]:
    """The photos that a concept was enrolled with, and notes about those that changed or cannot be read.

    Raises:
        NoUsablePhotoError: there are none, or none can be read any more.
    """
    from engine.training.augment import working_size

    if not concept.references:
        raise NoUsablePhotoError(
            f"{concept.name!r} has no photos to learn from: it was imported",
            hint="Give it some: myvlm add-concept NAME PHOTOS. The imported embedding works without.",
        )
    edge = _WORKING_EDGE * session.vlm.image_edge
    found, notes = [], []
    for reference in concept.references:
        try:
            photo = load_photo(reference.path)
        except PhotoError as err:
            notes.append(str(err))
            continue
        if photo.facts.content_hash != reference.content_hash:
            notes.append(f"{reference.path.name} has changed since it was enrolled")
        scaled = _scaled(reference, photo.image.size, edge)
        scaled = replace(scaled, content_hash=photo.facts.content_hash)
        found.append(TrainingPhoto(reference.path, working_size(photo.image, edge), scaled))
    if not found:
        raise NoUsablePhotoError(
            f"none of the photos of {concept.name!r} can be read any more",
            hint="Run myvlm add-concept again with photos that are there.",
        )
    return found, notes


def _scaled(reference: Reference, size: tuple[int, int], edge: int) -> Reference:
    """The reference with its box in the pixels of the working image."""
    if reference.box is None or min(size) <= edge:
        return reference
    factor = edge / min(size)
    b = reference.box
    return replace(reference, box=type(b)(b.x0 * factor, b.y0 * factor, b.x1 * factor, b.y1 * factor))


class TargetBuilder:
    """Writes the lessons of one concept, from what the user gives and what the un-personalised VLM says."""

    def __init__(self, session: Session, concept: Concept, photos: Sequence[TrainingPhoto]) -> None:
        self.session, self.concept, self.photos = session, concept, photos
        self.notes: list[str] = []
        self._said: tuple[list[str], list[str]] | None = None

    def captions(self, path: Path | None) -> list[tuple[str, ...]]:
        """Captions of each photo with the identifier in them: the user's as they are, one with its variations.

        Raises:
            UsageError: the user's file does not fit.
        """
        concept = self.concept
        given = load_captions(path) if path else {}
        if path:
            check_coverage(given, [p.path.name for p in self.photos], path)
        drafts = {} if all(p.path.name in given for p in self.photos) else self._drafts()
        texts: list[tuple[str, ...]] = []
        for photo in self.photos:
            name = photo.path.name
            own = [
                with_identifier(t, (concept.name, concept.identifier), concept.identifier) for t in given.get(name, ())
            ]
            if any(t is None for t in own):
                raise UsageError(
                    f"{path}: a caption of {name} does not name {concept.name!r}",
                    hint="Every caption must hold the name.",
                )
            if not own:
                if path:
                    self.notes.append(f"{path.name} says nothing of {name}; the VLM wrote its caption")
                own = [drafts[photo.path]]
            kept = tuple(t for t in own if t)
            texts.append(kept if len(kept) > 1 else self._vary(photo, kept[0]))
        return texts

    def questions(self, path: Path | None) -> list[tuple[Turn, ...]]:
        """Questions about each photo with answers: the user's, else the paper's, answered by the VLM about the
        class word, which then becomes the identifier (method.md §6).

        Raises:
            UsageError: the user's file does not fit.
        """
        given = load_answers(path) if path else {}
        if path:
            check_coverage(given, [p.path.name for p in self.photos], path)
        missing = [p for p in self.photos if p.path.name not in given]
        written = dict(zip([p.path for p in missing], self._answers(missing), strict=True))
        if path:
            self.notes += [f"{path.name} says nothing of {p.path.name}; the VLM wrote its answers" for p in missing]
        return [
            written[p.path] if p.path in written else self._given_turns(given[p.path.name], p.path.name, path)
            for p in self.photos
        ]

    def _given_turns(self, turns: dict[str, str], photo: str, path: Path | None) -> tuple[Turn, ...]:
        names, identifier = (self.concept.name, self.concept.identifier), self.concept.identifier
        found = []
        for question, answer in turns.items():
            asked = with_identifier(question, names, identifier)
            if asked is None:
                raise UsageError(
                    f"{path}: a question about {photo} does not name {self.concept.name!r}",
                    hint="Every question must hold the name.",
                )
            found.append(Turn(asked, (replace_names(answer, dict.fromkeys(names, identifier)),)))
        return tuple(found)

    def _look(self) -> tuple[list[str], list[str]]:
        """What the un-personalised VLM says of every photo, and of the concept's own part of it."""
        from engine.vlms import generate

        if self._said is None:
            wholes, closeups = [], []
            for photo in self.photos:
                views = [photo.image]
                if photo.reference.box is not None:
                    room = _ROOM_AROUND_FACE if self.concept.kind is Kind.PERSON else _ROOM
                    views.append(crop(photo.image, photo.reference.box.grown(room, *photo.image.size)))
                said = generate.caption(self.session.vlm, views, [[] for _ in views])
                wholes.append(said[0].text)
                closeups.append(said[-1].text)
            self._said = wholes, closeups
        return self._said

    def _drafts(self) -> dict[Path, str]:
        """The VLM's own captions, with the concept's noun phrase replaced by its identifier."""
        wholes, closeups = self._look()
        own, shared = nouns_of(self.concept.kind, self.concept.category), shared_noun(closeups)
        return {
            photo.path: name_in_caption(
                whole, own if noun_phrases(whole, *own) else shared, self.concept.identifier, closeup
            )
            for photo, whole, closeup in zip(self.photos, wholes, closeups, strict=True)
        }

    def _vary(self, photo: TrainingPhoto, caption: str) -> tuple[str, ...]:
        """A caption with its variations: by the VLM's own language model where it can, else from templates."""
        config, identifier = self.session.vlm_config, self.concept.identifier
        templates = vary(caption, identifier, config.openings)
        if config.variations != "lm":
            return templates
        own = self._rephrased(photo, caption)
        return (caption, *[*own, *templates[1:]][: len(REPHRASE)])

    def _rephrased(self, photo: TrainingPhoto, caption: str) -> tuple[str, ...]:
        """What the VLM makes of a caption, kept in the store: those of its variations that can be used."""
        from engine.vlms import generate

        session, identifier = self.session, self.concept.identifier
        key = (self.concept, photo.reference.content_hash, session.vlm_id, session.vlm_revision, caption)
        known = session.store.load_variations(*key)
        if known is not None:
            return known
        asked = [
            generate.question_request(session.vlm, r.format(identifier=identifier, caption=caption)) for r in REPHRASE
        ]
        said = generate.ask_plain(session.vlm, [photo.image], [asked])[0]
        kept = tuple(dict.fromkeys(t for s in said if (t := accept_variation(s, caption, identifier))))
        session.store.save_variations(*key, kept)
        return kept

    def _answers(self, photos: Sequence[TrainingPhoto]) -> list[tuple[Turn, ...]]:
        from engine.vlms import generate

        if not photos:
            return []
        concept = self.concept
        kind = "person" if concept.kind is Kind.PERSON else "thing"
        forms = questions_for(kind, self.session.vlm_config.questions)
        noun = self._noun()
        phrases = [self._phrase(photo, noun) for photo in photos]
        vlm = self.session.vlm
        asked = [[generate.question_request(vlm, f.format(x=phrase)) for f in forms] for phrase in phrases]
        said = generate.ask_plain(vlm, [p.image for p in photos], asked)
        return [
            tuple(
                Turn(f.format(x=concept.identifier), (name_in_answer(a, phrase, noun, concept.identifier),))
                for f, a in zip(forms, answers, strict=True)
                if a.strip()
            )
            for phrase, answers in zip(phrases, said, strict=True)
        ]

    def _noun(self) -> str:
        """The class word: the concept's category, or what the VLM calls most of its close-ups."""
        category, person = self.concept.category, self.concept.kind is Kind.PERSON
        if category not in GENERIC and category != "person":
            return category
        nouns = [n for n in shared_noun(self._look()[1]) if not person or n in PEOPLE]
        return nouns[0] if nouns else "person" if person else category if category == "animal" else "object"

    def _phrase(self, photo: TrainingPhoto, noun: str) -> str:
        """Who is asked about: "the dog", or where the VLM sees several, "the red dog" of the close-up."""
        wholes, closeups = self._look()
        i = self.photos.index(photo)
        spans = noun_phrases(closeups[i], noun)
        if len(noun_phrases(wholes[i], noun)) < 2 or not spans:
            return f"the {noun}"
        return "the " + closeups[i][slice(*spans[0])].split(maxsplit=1)[1]
