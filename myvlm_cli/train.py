"""`myvlm train`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.core.errors import DivergedError, NoUsablePhotoError, NoVlmError, UsageError
from myvlm_cli import options as o
from myvlm_cli.completion import complete_concept
from myvlm_cli.errors import SOME_FAILED
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without

if TYPE_CHECKING:
    from engine.core.types import Concept
    from engine.session import Session
    from engine.store.concepts import Embedding
    from engine.training.train import Plan


@dataclass(frozen=True)
class NamedConcepts:
    """The concepts to train."""

    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Concepts to train, or to train again. Default: all that are not trained for this VLM, or whose photos"
            " have changed since.",
            autocompletion=complete_concept,
            show_default=False,
        ),
    ] = None
    every: Annotated[bool, typer.Option("--all", help="The same as giving no names.")] = False


@dataclass(frozen=True)
class TrainingChoice:
    """What to train on, and for how long."""

    captions: Annotated[
        Path | None,
        typer.Option(
            help='A JSON file with your captions: {"photo.jpg": "Rex on a sofa."}. Default: the VLM writes them.',
            show_default=False,
        ),
    ] = None
    task: Annotated[
        Literal["caption", "vqa"],
        typer.Option(help="What to learn. caption: captions. vqa: answers to questions as well."),
    ] = "caption"
    answers: Annotated[
        Path | None,
        typer.Option(
            help='With --task vqa: a JSON file with your answers: {"photo.jpg": {"Where is Rex?": "Rex is at home."}}.',
            show_default=False,
        ),
    ] = None
    show_captions: Annotated[
        bool,
        typer.Option(
            "--show-captions", help="Print every caption, question and answer that training would use; do not train."
        ),
    ] = False
    steps: Annotated[
        int | None, typer.Option(help="Optimisation steps. Default: the VLM's own.", min=1, show_default=False)
    ] = None


def train(
    *,
    named: NamedConcepts,
    choice: TrainingChoice,
    models: Annotated[o.ModelChoice, Without("recogniser", "heads", "allow_body")],
    seed: o.Seed = 0,
    json: o.Json = False,
) -> None:
    """Use a concept's name in captions.

    Learns the concept's embedding for the VLM from the enrolled photos.

    Example: myvlm train rex

    Example: myvlm train
    """
    _check_options(named, choice)
    session = models.open_session(create=False)
    session.models.check_trains()
    concepts = _find_named(session, named.names) if named.names else _find_untrained(session, choice.task)
    results, failed = _each(_plan_one if choice.show_captions else _train_one, session, concepts, choice, seed)
    if json:
        out.json_document({"concepts": [r.document for r in results]})
    for line in () if json else [line for r in results for line in r.lines]:
        out.text(line)
    if results and not choice.show_captions:
        out.say("Next: myvlm caption FOLDER")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _check_options(named: NamedConcepts, choice: TrainingChoice) -> None:
    if named.names and named.every:
        raise UsageError("names and --all exclude each other", hint="Leave out the names, or --all.")
    if not named.names and (choice.captions or choice.answers):
        raise UsageError("--captions and --answers are for one concept", hint="Name it: myvlm train rex --captions …")


def _find_named(session: "Session", names: list[str]) -> "list[Concept]":
    """Return the concepts of some names.

    Raises:
        NoVlmError: the VLM knows drawings only, and the photos of a concept are not drawn.
    """
    from engine.captioning.names_only import GET_A_VLM_FOR_PHOTOS
    from engine.concepts.drawn_photos import vlm_knows

    concepts = list(session.store.select(tuple(names)))
    for concept in concepts:
        if concept.references and not vlm_knows(session.vlm_config, concept):
            raise NoVlmError(
                f"{session.vlm_config.name} knows drawings only and cannot learn from photos of {concept.name}",
                hint=GET_A_VLM_FOR_PHOTOS,
            )
    return concepts


def _find_untrained(session: "Session", task: Literal["caption", "vqa"]) -> "list[Concept]":
    """Return the concepts that need training; say why others are left out, and what to do if none needs it."""
    enrolled = session.store.all()
    concepts = [c for c in enrolled if _needs_training(session, c, task)]
    if not enrolled:
        out.say("No concepts yet. Start with: myvlm add-concept NAME PHOTOS")
    elif not concepts:
        out.say(f"Nothing to train for {session.vlm_config.name}. To train a concept again, name it: myvlm train NAME")
    return concepts


def _needs_training(session: "Session", concept: "Concept", task: Literal["caption", "vqa"]) -> bool:
    """Whether a concept needs training and can be trained; print the reason."""
    from engine.captioning.names_only import GET_A_VLM_FOR_PHOTOS
    from engine.concepts.drawn_photos import vlm_knows
    from engine.training.train import Need, training_need

    need = training_need(session, concept, task)
    if need is Need.NOTHING:
        return False
    if need is Need.NO_PHOTOS:
        out.warn(f"{concept.name} is left out: it was imported and has no photos to learn from")
        return False
    if not vlm_knows(session.vlm_config, concept):
        out.warn(
            f"{concept.name} is left out: {session.vlm_config.name} knows drawings only and cannot learn from these"
            f" photos. {GET_A_VLM_FOR_PHOTOS}"
        )
        return False
    out.say(f"{concept.name}: {need}")
    return True


@dataclass(frozen=True)
class _Result:
    """What to print about one concept: as JSON, or as lines of text."""

    document: Document
    lines: tuple[str, ...]


def _each(
    do: "Callable[[Session, Concept, TrainingChoice, int], _Result]",
    session: "Session",
    concepts: "Sequence[Concept]",
    choice: TrainingChoice,
    seed: int,
) -> tuple[list[_Result], int]:
    """Return the result of each concept, and how many failed. If there are several, a failure does not stop the others.

    Raises:
        NoUsablePhotoError, DivergedError: the only concept failed.
    """
    results, failed = [], 0
    for concept in concepts:
        try:
            results.append(do(session, concept, choice, seed))
        except (NoUsablePhotoError, DivergedError) as err:
            if len(concepts) == 1:
                raise
            failed += 1
            out.warn(f"{concept.name}: {err}. {err.hint}")
    return results, failed


def _train_one(session: "Session", concept: "Concept", choice: TrainingChoice, seed: int) -> _Result:
    """Train the embedding of a concept, and show the progress."""
    from engine.training.train import Plan, Progress, train_concept

    options = {"captions": choice.captions, "answers": choice.answers}
    with out.progress(concept.name, None, "steps") as bar:
        for event in train_concept(session, concept, task=choice.task, steps=choice.steps, seed=seed, **options):
            if isinstance(event, Plan):
                _tell_plan(event)
                bar.expect(event.settings.steps)
                bar.count_done()
            elif isinstance(event, Progress):
                bar.advance(f"{concept.name}  loss {event.cross_entropy:.3f}")
            else:
                return _describe_embedding(concept, event)
    raise AssertionError("training ended without an embedding")


def _describe_embedding(concept: "Concept", embedding: "Embedding") -> _Result:
    document: Document = {
        "name": concept.name,
        "id": concept.id,
        "vlm": embedding.vlm,
        "revision": embedding.revision,
        "task": embedding.task,
        "identifier": embedding.identifier,
        "steps": embedding.steps,
        "seed": embedding.seed,
        "loss": round(embedding.loss, 4),
    }
    line = f"{concept.name}: trained for {embedding.vlm}, {embedding.steps} steps, loss {round(embedding.loss, 4):.3f}"
    return _Result(document, (line,))


def _tell_plan(plan: "Plan") -> None:
    for note in plan.notes:
        out.warn(note)
    out.detail(f"{plan.concept.name}: captions by {plan.written_by}, {plan.settings.steps} steps, seed {plan.seed}")
    for path, texts in plan.captions:
        out.detail(f"  {path.name}: {texts[0]}")


def _plan_one(session: "Session", concept: "Concept", choice: TrainingChoice, seed: int) -> _Result:
    """Return what training would use. `captions` and `answers` have the form of --captions and --answers."""
    from engine.training.train import plan as make_plan

    options = {"captions": choice.captions, "answers": choice.answers}
    plan = make_plan(session, concept, task=choice.task, steps=choice.steps, seed=seed, **options)
    for note in plan.notes:
        out.warn(note)
    captions = {path_text(Path(path.name)): list(texts) for path, texts in plan.captions}
    answers = {path_text(Path(path.name)): {t.request: t.answers[0] for t in turns} for path, turns in plan.questions}
    document: Document = {
        "name": concept.name,
        "id": concept.id,
        "vlm": session.vlm_id,
        "task": plan.task,
        "identifier": concept.identifier,
        "steps": plan.settings.steps,
        "captions_by": plan.written_by,
        "captions": captions,
        "answers": answers,
    }
    lines = [f"{concept.name}: {plan.task}, called {concept.identifier}"]
    for photo, texts in captions.items():
        lines += [f"{photo}: {text}" for text in texts]
        lines += [f"{photo}: {question} {answer}" for question, answer in answers.get(photo, {}).items()]
    return _Result(document, tuple(lines))
