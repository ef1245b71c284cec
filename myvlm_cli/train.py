"""`myvlm train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out


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
    session = o.open_session(vlm, None, device, dtype)
    concepts = _untrained(session) if every else list(session.concepts(tuple(names or ())))
    if not concepts:
        out.say("Every concept is trained for this VLM.")
    documents = [_train_one(session, c, captions, steps, seed) for c in concepts]
    if json:
        out.json_document({"concepts": documents})
    else:
        for d in documents:
            out.text(f"{d['name']}: trained for {d['vlm']}, {d['steps']} steps, loss {d['loss']:.3f}")


def _untrained(session: Any) -> list[Any]:
    from engine.errors import NotTrainedError

    found = []
    for concept in session.store.all():
        try:
            session.store.load_embedding(concept, session.vlm_id, session.vlm_revision)
        except NotTrainedError:
            found.append(concept)
    return found


def _train_one(session: Any, concept: Any, captions: Path | None, steps: int | None, seed: int) -> dict[str, Any]:
    from engine.pipeline.learn import Plan, Progress, learn

    last: Any = None
    with out.progress(concept.name, None) as bar:
        for event in learn(session, concept, captions=captions, steps=steps, seed=seed):
            if isinstance(event, Plan):
                _tell_plan(event)
                if bar.bar is not None:
                    bar.bar.update(bar.task, total=event.settings.steps)
            elif isinstance(event, Progress):
                bar.advance(f"{concept.name}  loss {event.cross_entropy:.3f}")
            last = event
    return {
        "name": concept.name,
        "id": concept.id,
        "vlm": last.vlm,
        "revision": last.revision,
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
