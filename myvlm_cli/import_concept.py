"""`myvlm concepts import`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.core.errors import UsageError
from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.output import out
from myvlm_cli.parameters import Without
from myvlm_cli.show import describe_concept

if TYPE_CHECKING:
    from engine.concepts.import_published import Identity, Source


@dataclass(frozen=True)
class SourceChoice:
    """Which published files to import, and as which concept."""

    file: Annotated[Path, typer.Argument(help="concept_embeddings_<VLM>_<TASK>.pt", show_default=False)]
    name: Annotated[str, typer.Option("--name", help="The concept's name.", show_default=False)]
    kind: Annotated[
        Kind | None,
        typer.Option("--kind", help="person, pet or thing. Default: the concept's own, or thing.", show_default=False),
    ] = None
    category: Annotated[
        str | None, typer.Option("--category", help="A word for it, such as mug.", show_default=False)
    ] = None
    identifier: Annotated[str, typer.Option("--identifier", help="The word that the embedding was trained with.")] = (
        "sks"
    )
    task: Annotated[
        Literal["caption", "vqa"] | None,
        typer.Option("--task", help="What it was trained for. Default: as in the file's name.", show_default=False),
    ] = None
    iteration: Annotated[
        int | None,
        typer.Option(
            "--iteration", help="Iteration to import. Default: the last one in the file.", min=0, show_default=False
        ),
    ] = None
    head: Annotated[
        Path | None,
        typer.Option("--head", help="File with a linear head: classifier.weight, classifier.bias.", show_default=False),
    ] = None

    @property
    def source(self) -> "Source":
        """The files to import, and what of them."""
        from engine.concepts.import_published import Source

        return Source(self.file, self.head, self.iteration, self.task)

    @property
    def identity(self) -> "Identity":
        """The concept that the files are about."""
        from engine.concepts.import_published import Identity

        return Identity(self.name, self.kind, self.category, self.identifier)


Replace = Annotated[bool, typer.Option("--replace", help="Replace the concept's existing embedding or head.")]


def import_concept(
    *,
    choice: SourceChoice,
    replacing: Replace = False,
    models: Annotated[o.ModelChoice, Without("heads", "allow_body", "device", "dtype", "quantise")],
    json: o.Json = False,
) -> None:
    """Import a concept that the paper's authors published: an embedding, and a linear head if there is one.

    Example: myvlm concepts import concept_embeddings_llava_captioning.pt --name "My mug" --head mug_head.pt
    """
    from engine.concepts.import_published import guess_vlm, import_published

    vlm = models.vlm or guess_vlm(choice.file)
    if vlm is None:
        raise UsageError(f"{choice.file.name} does not say which VLM it is for", hint="Give --vlm; see myvlm models.")
    session = replace(models, vlm=vlm).open_session()
    imported = import_published(session, choice.source, choice.identity, replacing=replacing)
    for warning in imported.warnings:
        out.warn(str(warning))
    if json:
        out.json_document(describe_concept(session, imported.concept))
    else:
        e = imported.embedding
        trained = f"task {e.task}, iteration {e.steps}, called {e.identifier}"
        out.text(f"{imported.concept.name}: imported for {e.vlm}, {trained}")
