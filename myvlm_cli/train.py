"""`myvlm train`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import SOME_FAILED
from myvlm_cli.output import out, path_text

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Concepts to train or retrain. Default: all that are not trained for this VLM, or whose photos have"
        " changed since.",
        autocompletion=o.complete_concept,
        show_default=False,
    ),
]


def train(
    names: Names = None,
    every: Annotated[bool, typer.Option("--all", help="The same as without names.")] = False,
    captions: Annotated[
        Path | None,
        typer.Option(
            help='Your captions: {"photo.jpg": "Rex on a sofa."}. Else the VLM writes them.', show_default=False
        ),
    ] = None,
    task: Annotated[
        Literal["caption", "vqa"], typer.Option(help="What to learn: captions, or answers to questions as well.")
    ] = "caption",
    answers: Annotated[
        Path | None,
        typer.Option(
            help='Your answers, for --task vqa: {"photo.jpg": {"Where is Rex?": "Rex is at home."}}.',
            show_default=False,
        ),
    ] = None,
    show_captions: Annotated[
        bool,
        typer.Option(
            "--show-captions", help="Print every caption, question and answer that training would use; do not train."
        ),
    ] = False,
    steps: Annotated[
        int | None, typer.Option(help="Optimisation steps. Default: the VLM's.", min=1, show_default=False)
    ] = None,
    vlm: o.Vlm = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    seed: o.Seed = 0,
    json: o.Json = False,
) -> None:
    """Use a concept's name in captions.

    Learns the concept's embedding for the VLM from the enrolled photos.

    Example: myvlm train rex

    Example: myvlm train
    """
    _check_options(names, every=every, files=(captions, answers))
    session = o.open_session(vlm, None, device, dtype, create=False)
    concepts = _named(session, names) if names else _needing(session, task)
    given = {"task": task, "captions": captions, "answers": answers, "steps": steps, "seed": seed}
    documents, failed = _each(_show_one if show_captions else _train_one, session, concepts, given)
    if json:
        out.json_document({"concepts": documents})
    for d in [] if json else documents:
        _print_plan(d) if show_captions else out.text(
            f"{d['name']}: trained for {d['vlm']}, {d['steps']} steps, loss {d['loss']:.3f}"
        )
    if documents and not show_captions:
        out.say("Next: myvlm caption FOLDER")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _check_options(names: list[str] | None, *, every: bool, files: tuple[Path | None, ...]) -> None:
    from engine.core.errors import UsageError

    if names and every:
        raise UsageError("--all stands for all concepts: name none", hint="Leave out the names, or --all.")
    if not names and any(files):
        raise UsageError("--captions and --answers are for one concept", hint="Name it: myvlm train rex --captions …")


def _named(session: Any, names: list[str]) -> list[Any]:
    """The concepts of some names.

    Raises:
        NoVlmError: the VLM knows drawn photos only, and those of one are not.
    """
    from engine.captioning.names_only import HOW_TO_GET_A_VLM
    from engine.concepts.drawn_photos import vlm_knows
    from engine.core.errors import NoVlmError

    concepts = list(session.concepts(tuple(names)))
    for concept in concepts:
        if concept.references and not vlm_knows(session, concept):
            raise NoVlmError(
                f"{session.vlm_config.name} only knows drawings and cannot learn from photos of {concept.name}",
                hint=HOW_TO_GET_A_VLM,
            )
    return concepts


def _needing(session: Any, task: str) -> list[Any]:
    """The concepts that should be trained; says why others are left out, and what there is to do."""
    from engine.concepts.drawn_photos import vlm_knows
    from engine.training.train import Need, training_need

    found, known = [], session.store.all()
    for concept in known:
        need = training_need(session, concept, task)
        if need is Need.NO_PHOTOS:
            out.warn(f"{concept.name} has no photos to learn from (it was imported) and is left out")
        elif need is not Need.NOTHING and not vlm_knows(session, concept):
            out.warn(
                f"{concept.name} is left out: {session.vlm_config.name} only knows drawn photos and learns nothing from"
                " these. `myvlm models` lists VLMs for real photos"
            )
        elif need is not Need.NOTHING:
            found.append(concept)
            out.say(f"{concept.name}: {need}")
    if not known:
        out.say("No concepts yet. Start with: myvlm add-concept NAME PHOTOS")
    elif not found:
        out.say(f"Nothing to train for {session.vlm_config.name}. To train a concept again, name it: myvlm train NAME")
    return found


def _each(do: Any, session: Any, concepts: list[Any], given: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """What came of each concept, and of how many nothing: one that cannot be trained does not stop the others."""
    from engine.core.errors import DivergedError, NoUsablePhotoError

    documents, failed = [], 0
    for concept in concepts:
        try:
            documents.append(do(session, concept, given))
        except (NoUsablePhotoError, DivergedError) as err:
            if len(concepts) == 1:
                raise
            failed += 1
            out.warn(f"{concept.name}: {err}. {err.hint}")
    return documents, failed


def _train_one(session: Any, concept: Any, given: dict[str, Any]) -> dict[str, Any]:
    from engine.training.train import Plan, Progress, train_concept

    last: Any = None
    with out.progress(concept.name, None, "steps") as bar:
        for event in train_concept(session, concept, **given):
            if isinstance(event, Plan):
                _tell_plan(event)
                bar.expect(event.settings.steps)
                bar.count_done()
            elif isinstance(event, Progress):
                bar.advance(f"{concept.name}  loss {event.cross_entropy:.3f}")
            last = event
    return {
        "name": concept.name,
        "id": concept.id,
        "vlm": last.vlm,
        "revision": last.revision,
        "task": last.task,
        "identifier": last.identifier,
        "steps": last.steps,
        "seed": last.seed,
        "loss": round(last.loss, 4),
    }


def _tell_plan(plan: Any) -> None:
    for note in plan.notes:
        out.warn(note)
    out.detail(f"{plan.concept.name}: captions by {plan.written_by}, {plan.settings.steps} steps, seed {plan.seed}")
    for path, texts in plan.captions:
        out.detail(f"  {path.name}: {texts[0]}")


def _show_one(session: Any, concept: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What training would use. `captions` and `answers` have the form of --captions and --answers."""
    from engine.training.train import plan

    found = plan(session, concept, **given)
    for note in found.notes:
        out.warn(note)
    return {
        "name": concept.name,
        "id": concept.id,
        "vlm": session.vlm_id,
        "task": found.task,
        "identifier": concept.identifier,
        "steps": found.settings.steps,
        "captions_by": found.written_by,
        "captions": {path_text(path.name): list(texts) for path, texts in found.captions},
        "answers": {path_text(path.name): {t.request: t.answers[0] for t in turns} for path, turns in found.questions},
    }


def _print_plan(document: dict[str, Any]) -> None:
    out.text(f"{document['name']}: {document['task']}, called {document['identifier']}")
    for photo, texts in document["captions"].items():
        for text in texts:
            out.text(f"{photo}: {text}")
        for question, answer in document["answers"].get(photo, {}).items():
            out.text(f"{photo}: {question} {answer}")
