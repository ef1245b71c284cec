"""Make the training targets of a concept: captions with variations, and questions with answers, for each photo.

See docs/method.md, sections 1 and 6. The user's texts are used as they are. Missing texts are written by the plain VLM,
which does not know the concept; then the concept's identifier takes the place of the class word ("the dog").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.class_words import GENERIC, PEOPLE, nouns_of
from engine.core.errors import UsageError
from engine.core.types import Concept, Kind
from engine.store.concepts import ConceptStore
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
from engine.training.reference_photos import TrainingPhoto
from engine.vision.regions import crop
from engine.vlms.in_use import VlmInUse
from engine.vlms.wording import noun_phrases, replace_names

_CLOSEUP, _CLOSEUP_OF_FACE = 1.2, 3.0
"""Side of a close-up, in sides of the concept's box; the box of a person shows the face only."""


@dataclass(frozen=True)
class PlainCaption:
    """What the plain VLM says of a photo, and of the close-up of the concept in it."""

    photo: str
    closeup: str


class TargetBuilder:
    """Makes the training texts of one concept from the user's files and the plain VLM's captions and answers.

    notes: what the user should know: photos for which the VLM wrote the texts.
    """

    def __init__(self, vlm: VlmInUse, store: ConceptStore, concept: Concept, photos: Sequence[TrainingPhoto]) -> None:
        self.vlm, self.store, self.concept, self.photos = vlm, store, concept, photos
        self.notes: list[str] = []
        self._plain_captions: list[PlainCaption] | None = None

    def captions(self, path: Path | None) -> list[tuple[str, ...]]:
        """Make the captions of each photo, with the identifier in them; a single caption gets variations.

        path: the user's `captions.json`. Photos that it leaves out get the VLM's own caption.

        Raises:
            UsageError: the file does not fit the photos, or a caption does not hold the concept's name.
        """
        given = load_captions(path) if path else {}
        if path:
            check_coverage(given, [p.path.name for p in self.photos], path)
        drafts = {} if all(p.path.name in given for p in self.photos) else self._drafts()
        captions: list[tuple[str, ...]] = []
        for photo in self.photos:
            texts = self._given_captions(given.get(photo.path.name, ()), photo.path.name, path)
            if not texts:
                if path:
                    self.notes.append(f"{path.name} says nothing of {photo.path.name}; the VLM wrote its caption")
                texts = (drafts[photo.path],)
            captions.append(texts if len(texts) > 1 else self._vary(photo, texts[0]))
        return captions

    def _given_captions(self, texts: Sequence[str], photo: str, path: Path | None) -> tuple[str, ...]:
        """Replace the concept's name by its identifier in the user's captions of a photo.

        Raises:
            UsageError: a caption does not hold the name.
        """
        names, identifier = (self.concept.name, self.concept.identifier), self.concept.identifier
        captions = []
        for text in texts:
            caption = with_identifier(text, names, identifier)
            if caption is None:
                raise UsageError(
                    f"{path}: a caption of {photo} does not name {self.concept.name!r}",
                    hint="Every caption must hold the name.",
                )
            captions.append(caption)
        return tuple(captions)

    def questions(self, path: Path | None) -> list[tuple[Turn, ...]]:
        """Make questions about each photo with their answers, with the identifier in them.

        path: the user's `answers.json`. For photos that it leaves out, the plain VLM answers the paper's questions
        about the class word, which then becomes the identifier (docs/method.md, section 6).

        Raises:
            UsageError: the file does not fit the photos, or a question does not hold the concept's name.
        """
        given = load_answers(path) if path else {}
        if path:
            check_coverage(given, [p.path.name for p in self.photos], path)
        left_out = [i for i, p in enumerate(self.photos) if p.path.name not in given]
        written = dict(zip(left_out, self._answers(left_out), strict=True))
        if path:
            names = [self.photos[i].path.name for i in left_out]
            self.notes += [f"{path.name} says nothing of {name}; the VLM wrote its answers" for name in names]
        return [
            written[i] if i in written else self._given_turns(given[p.path.name], p.path.name, path)
            for i, p in enumerate(self.photos)
        ]

    def _given_turns(self, turns: dict[str, str], photo: str, path: Path | None) -> tuple[Turn, ...]:
        """Replace the concept's name by its identifier in the user's questions and answers about a photo.

        Raises:
            UsageError: a question does not hold the name.
        """
        names, identifier = (self.concept.name, self.concept.identifier), self.concept.identifier
        converted = []
        for question, answer in turns.items():
            request = with_identifier(question, names, identifier)
            if request is None:
                raise UsageError(
                    f"{path}: a question about {photo} does not name {self.concept.name!r}",
                    hint="Every question must hold the name.",
                )
            converted.append(Turn(request, (replace_names(answer, dict.fromkeys(names, identifier)),)))
        return tuple(converted)

    def _look(self) -> list[PlainCaption]:
        """Caption every photo, and the close-up of the concept in it, with the plain VLM; once for all texts."""
        from engine.vlms import captions

        if self._plain_captions is None:
            self._plain_captions = []
            for photo in self.photos:
                images = [photo.image]
                if photo.reference.box is not None:
                    side = _CLOSEUP_OF_FACE if self.concept.kind is Kind.PERSON else _CLOSEUP
                    images.append(crop(photo.image, photo.reference.box.grown(side, *photo.image.size)))
                results = captions.caption(self.vlm.model, images, [[] for _ in images])
                self._plain_captions.append(PlainCaption(results[0].text, results[-1].text))
        return self._plain_captions

    def _drafts(self) -> dict[Path, str]:
        """Take the VLM's own captions, with the concept's noun phrase replaced by its identifier."""
        plain_captions, identifier = self._look(), self.concept.identifier
        nouns = nouns_of(self.concept.kind, self.concept.category)
        shared = shared_noun([c.closeup for c in plain_captions])
        return {
            photo.path: name_in_caption(
                c.photo, nouns if noun_phrases(c.photo, *nouns) else shared, identifier, c.closeup
            )
            for photo, c in zip(self.photos, plain_captions, strict=True)
        }

    def _vary(self, photo: TrainingPhoto, caption: str) -> tuple[str, ...]:
        """Return a caption with its variations: by the VLM's own language model where it can, else from templates."""
        config = self.vlm.config
        templates = vary(caption, self.concept.identifier, config.openings)
        if config.variations != "lm":
            return templates
        rephrased = self._rephrased(photo, caption)
        return (caption, *[*rephrased, *templates[1:]][: len(REPHRASE)])

    def _rephrased(self, photo: TrainingPhoto, caption: str) -> tuple[str, ...]:
        """Let the VLM rephrase a caption; usable variations are kept in the store, and taken from there."""
        from engine.vlms import generate

        vlm, identifier = self.vlm, self.concept.identifier
        key = (self.concept, photo.reference.content_hash, vlm.id, vlm.revision, caption)
        stored = self.store.load_variations(*key)
        if stored is not None:
            return stored
        requests = [
            generate.question_request(vlm.model, form.format(identifier=identifier, caption=caption))
            for form in REPHRASE
        ]
        (replies,) = generate.ask_plain(vlm.model, [photo.image], [requests])
        variations = (accept_variation(reply, caption, identifier) for reply in replies)
        usable = tuple(dict.fromkeys(v for v in variations if v))
        self.store.save_variations(*key, usable)
        return usable

    def _answers(self, indices: Sequence[int]) -> list[tuple[Turn, ...]]:
        """Let the plain VLM answer questions about the class word in some of the photos; it becomes the identifier."""
        from engine.vlms import generate

        if not indices:
            return []
        vlm, identifier, noun = self.vlm.model, self.concept.identifier, self._noun()
        forms = questions_for("person" if self.concept.kind is Kind.PERSON else "thing", self.vlm.config.questions)
        phrases = [self._phrase(self._look()[i], noun) for i in indices]
        requests = [[generate.question_request(vlm, form.format(x=phrase)) for form in forms] for phrase in phrases]
        replies = generate.ask_plain(vlm, [self.photos[i].image for i in indices], requests)
        return [
            tuple(
                Turn(form.format(x=identifier), (name_in_answer(answer, phrase, noun, identifier),))
                for form, answer in zip(forms, answers, strict=True)
                if answer.strip()
            )
            for phrase, answers in zip(phrases, replies, strict=True)
        ]

    def _noun(self) -> str:
        """Return the class word: the concept's category, or the noun that the VLM uses in most of its close-ups."""
        category, is_person = self.concept.category, self.concept.kind is Kind.PERSON
        if category not in GENERIC and category != "person":
            return category
        nouns = [n for n in shared_noun([c.closeup for c in self._look()]) if not is_person or n in PEOPLE]
        if nouns:
            return nouns[0]
        if is_person:
            return "person"
        return category if category == "animal" else "object"

    @staticmethod
    def _phrase(plain: PlainCaption, noun: str) -> str:
        """Return the phrase for the concept in a question: "the dog", or of several "the red dog" of the close-up."""
        spans = noun_phrases(plain.closeup, noun)
        if len(noun_phrases(plain.photo, noun)) < 2 or not spans:
            return f"the {noun}"
        return "the " + plain.closeup[slice(*spans[0])].split(maxsplit=1)[1]
