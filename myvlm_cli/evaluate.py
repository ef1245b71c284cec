"""`myvlm evaluate`."""

from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out


def evaluate(
    seed: o.Seed = 0,
    concepts: Annotated[int, typer.Option(help="How many individuals to learn.", min=1)] = 10,
    photos: Annotated[int, typer.Option(help="Test photos per concept and split.", min=1)] = 5,
    steps: Annotated[
        int | None, typer.Option(help="Training steps. Default: the VLM's.", min=1, show_default=False)
    ] = None,
    captions: Annotated[str, typer.Option(help="given: with the training photos; written: by the VLM.")] = "given",
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
) -> None:
    """Measure recall, context, false names and boxes on drawn concepts and scenes that nothing was trained on.

    Example: myvlm evaluate --seed 1 --concepts 10 --json
    """
    from engine.errors import UsageError

    if captions not in ("given", "written"):
        raise UsageError(f"--captions is given or written, not {captions!r}", hint="Example: --captions written")
    from engine.evaluation.storybook import Settings, evaluate
    from engine.pipeline.session import Choices

    settings = Settings(seed, concepts, photos, steps, captions)
    document = evaluate(settings, Choices("storybook", None, device, dtype), out.say)
    out.json_document(document) if json else out.table(_table(document))


def _table(document: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"Storybook benchmark, seed {document['settings']['seed']}")
    for heading in ("figure", "where", "value", "95 % interval", "n"):
        table.add_column(heading)
    for name, by in document.items():
        if isinstance(by, dict) and all(isinstance(f, dict) and "ci95" in f for f in by.values()):
            for key, f in by.items():
                low, high = f["ci95"]
                table.add_row(name, key, f"{f['value']:.3f}", f"{low:.3f} .. {high:.3f}", str(f["n"]))
    return table
