"""`myvlm ask`."""

from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Status
from myvlm_cli import options as o
from myvlm_cli.caption_choice import Speak
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import gather_photos
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.remote import AllowRemote
from myvlm_cli.sessions import warn_of_slow_faces
from myvlm_cli.words import listed

if TYPE_CHECKING:
    from engine.captioning.answer import Answer


def ask(
    *,
    photos_and_question: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO... QUESTION", help="Photos or folders, then the question.", show_default=False),
    ],
    concepts: Annotated[o.ConceptChoice, Without("only", "no_concepts")],
    models: o.ModelChoice,
    speak: Speak = None,
    allow_remote: AllowRemote = False,
    output: o.OutputChoice,
) -> None:
    """Ask a question about photos. The question can use the names of your concepts.

    Example: myvlm ask photo.jpg "What is Rex holding?"
    """
    from engine.captioning.answer import answer_question

    *photos, question = photos_and_question
    _check_question(photos, question)
    files = gather_photos([Path(p) for p in photos], None, null=False)
    session = models.open_session(create=False, names=concepts.names, speak=speak, allow_remote=allow_remote)
    warn_of_slow_faces(session)
    report = _Report(output, many=len(files) > 1)
    with out.progress("asking", len(files)) as bar:
        for answer in answer_question(session, files, question, concepts=concepts.names):
            bar.advance()
            report.add(answer)
    if output.json:
        out.json_document({"question": question, "photos": report.documents})
    report.finish(session.vlm_config.name)
    raise typer.Exit(SOME_FAILED if report.failed else OK)


def _check_question(photos: list[str], question: str) -> None:
    """Refuse a command line without a photo or a question, or with a question that is not quoted."""
    example = 'Example: myvlm ask photo.jpg "What is Rex holding?"'
    words = [p for p in photos if not _exists(p) and not set(p) & set("/.\\*-")]
    if len(words) > 1 or (words and len(photos) > len(words)):
        raise UsageError(f"{words[0]!r} is not a photo; quote the question", hint=example)
    if not photos or not question.strip() or _exists(question):
        raise UsageError("a photo and a question are needed", hint=example)


def _exists(text: str) -> bool:
    """Whether a file of this name exists; a long question is too long for a file name."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


@dataclass
class _Report:
    """Prints the answers. untrained: names in answers that the VLM has not learned."""

    output: o.OutputChoice
    many: bool
    failed: bool = False
    untrained: set[str] = field(default_factory=set)
    documents: list[Document] = field(default_factory=list)

    def add(self, answer: "Answer") -> None:
        """Print one answer, or why there is none."""
        self.failed = self.failed or answer.status is Status.FAILED
        self.untrained |= set(answer.untrained)
        self.documents.append(_describe(answer))
        file = path_text(answer.path)
        if self.output.jsonl:
            out.json_line(self.documents[-1])
        elif self.output.is_text and answer.answer is not None:
            out.text(f"{file}: {answer.answer}" if self.many else answer.answer)
        if answer.answer is None:
            out.say(f"{file}: {str(answer.reason).removeprefix(f'{answer.path}: ')}")

    def finish(self, vlm: str) -> None:
        """Say which concepts the VLM cannot call by name."""
        if self.untrained:
            names = sorted(self.untrained, key=str.casefold)
            out.say(
                f"not trained yet for {vlm}, so answers use their category: {listed(names)}."
                f" Run: myvlm train {' '.join(map(quote, names))}"
            )


def _describe(answer: "Answer") -> Document:
    from engine.sidecars.json_sidecar import describe_match

    tasks = dict(answer.tasks)
    trained = sorted(set(tasks.values()))
    return {
        "file": path_text(answer.path),
        "status": str(answer.status),
        "answer": answer.answer,
        "task": "+".join(trained) if trained else None,
        "concepts": [{**describe_match(m), "task": tasks.get(m.concept_id)} for m in answer.matches],
        "reason": answer.reason,
        "notes": list(answer.notes),
        "absent": list(answer.absent),
        "seconds": round(answer.seconds, 3),
    }
