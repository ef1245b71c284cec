"""`myvlm train`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out, path_text


def train(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Concepts to train.", autocompletion=o.complete_concept, show_default=False),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Train every concept that has no embedding for this VLM.")
    ] = False,
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
    """Teach the VLM to speak of a concept: learns its embedding from the enrolled photos.

    Example: myvlm train rex
    """
    from engine.errors import UsageError

    if bool(names) == every:
        raise UsageError("name the concepts to train, or use --all", hint="Example: myvlm train rex")
    session = o.open_session(vlm, None, device, dtype, create=False)
    concepts = _untrained(session, task) if every else list(session.concepts(tuple(names or ())))
    if not concepts:
        out.say("Every concept is trained for this VLM.")
    given = {"task": task, "captions": captions, "answers": answers, "steps": steps, "seed": seed}
    documents = [(_show_one if show_captions else _train_one)(session, c, given) for c in concepts]
    if json:
        out.json_document({"concepts": documents})
    for d in [] if json else documents:
        _print_plan(d) if show_captions else out.text(
            f"{d['name']}: trained for {d['vlm']}, {d['steps']} steps, loss {d['loss']:.3f}"
        )


def _untrained(session: Any, task: str) -> list[Any]:
    """Concepts without an embedding for the task; what was imported without photos cannot be trained."""
    from engine.errors import NotTrainedError

    found = []
    for concept in session.store.all():
        try:
            session.store.load_embedding(concept, session.vlm_id, session.vlm_revision, task)
        except NotTrainedError:
            if concept.references:
                found.append(concept)
            else:
                out.warn(f"{concept.name} has no photos to learn from (it was imported) and is left out")
    return found


def _train_one(session: Any, concept: Any, given: dict[str, Any]) -> dict[str, Any]:
    from engine.pipeline.learn import Plan, Progress, learn

    last: Any = None
    with out.progress(concept.name, None, "steps") as bar:
        for event in learn(session, concept, **given):
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
    from engine.pipeline.learn import plan

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
