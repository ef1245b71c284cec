"""`myvlm evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli import options as o
from myvlm_cli.output import Document, out
from myvlm_cli.parameters import Without
from myvlm_cli.sessions import default_of

if TYPE_CHECKING:
    from rich.table import Table

    from engine.benchmarks.figures import Table as PaperTable
    from engine.benchmarks.recognition import RecognitionSettings
    from engine.benchmarks.settings import PaperSettings
    from engine.benchmarks.storybook import Settings
    from engine.session import SessionOptions

_PAPER = "With --paper: "
_EITHER = "With --paper or --recognition: "
_PAPER_ONLY = ("vlms", "tables", "llm")
_EITHER_ONLY = ("seeds", "out", "data", "workers", "recogniser")
_PLAIN_ONLY = ("seed", "captions")
_NOT_RECOGNITION = (*_PAPER_ONLY, *_PLAIN_ONLY, "concepts", "steps")
_DRAWN_ONLY = ("seeds", "photos", "workers")
"""Options that --recognition --data does not take."""


@dataclass(frozen=True)
class SizeChoice:
    """How many concepts and photos are measured, and how concepts are trained."""

    concepts: Annotated[
        int | None,
        typer.Option(help="Number of individuals to learn. Default: 10; with --data all.", min=1, show_default=False),
    ] = None
    photos: Annotated[
        int | None,
        typer.Option(
            help="Test photos per concept and split. Default: 5; with --paper 3, with --data all. With --recognition:"
            " photos in each library, 2000.",
            min=1,
            show_default=False,
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="Training steps. Default: the VLM's own.", min=1, show_default=False)
    ] = None
    captions: Annotated[
        str, typer.Option(help="Captions to train on. given: those of the training photos. written: the VLM's.")
    ] = "given"


@dataclass(frozen=True)
class ProtocolChoice:
    """Which protocol to run, and what belongs to it."""

    paper: Annotated[
        bool, typer.Option("--paper", help="Run the paper's protocol: its tables, baselines and plots.")
    ] = False
    recognition: Annotated[
        bool,
        typer.Option(
            "--recognition", help="Measure recognition alone, in drawn libraries: false names, recall, mix-ups."
        ),
    ] = False
    seeds: Annotated[str, typer.Option(help=f"{_EITHER}comma-separated seeds.")] = "0,1,2"
    vlms: Annotated[
        str | None,
        typer.Option(
            help=f"{_PAPER}comma-separated VLMs. Default: the storybook's three; with --data the best on this disk.",
            show_default=False,
        ),
    ] = None
    tables: Annotated[str, typer.Option(help=f"{_PAPER}tables to measure, of 1,2,4,5,6,7,more.")] = "1,2,4,5,6,7,more"
    out_folder: Annotated[
        Path, typer.Option("--out", help=f"{_EITHER}folder for tables, plots and partial results.")
    ] = Path("evaluation")


@dataclass(frozen=True)
class SourceChoice:
    """The photos, the language model of the baseline, and the processes that share the work."""

    data: Annotated[
        Path | None,
        typer.Option(
            help=f"{_EITHER}your own photos, ROOT/CONCEPT/*.jpg; --paper takes captions.json with them.",
            show_default=False,
        ),
    ] = None
    llm: Annotated[
        str | None,
        typer.Option(help=f"{_PAPER}hub id or folder of a local instruct model, for a baseline.", show_default=False),
    ] = None
    workers: Annotated[
        int, typer.Option(help=f"{_EITHER}processes that share the work, for small models on a CPU.", min=1)
    ] = 1


def evaluate(
    *,
    context: typer.Context,
    seed: o.Seed = 0,
    sizes: SizeChoice,
    protocol: ProtocolChoice,
    models: Annotated[o.ModelChoice, Without("vlm", "heads", "allow_body")],
    source: SourceChoice,
    json: o.Json = False,
) -> None:
    """Measure recall, context, false names and boxes on drawn concepts and scenes that were not used in training.

    --paper --data measures on your own photos. --recognition measures who is named in whole libraries, and loads no
    VLM.

    Example: myvlm evaluate --recognition --seeds 0,1,2 --out evaluation
    """
    from engine.benchmarks.storybook import Settings
    from engine.session import SessionOptions

    if sizes.captions not in ("given", "written"):
        raise UsageError(
            f"--captions must be given or written, not {sizes.captions!r}", hint="Example: --captions written"
        )
    _refuse_others(context, protocol, folder=source.data is not None)
    if protocol.recognition:
        _run_recognition(_recognition_settings(sizes, protocol, models, source), as_json=json)
    elif protocol.paper:
        _run_paper(_paper_settings(sizes, protocol, models, source), as_json=json)
    else:
        settings = Settings(seed, sizes.concepts or 10, sizes.photos or 5, sizes.steps, sizes.captions)
        _run_storybook(settings, SessionOptions("storybook", None, *_place(models)), as_json=json)


def _refuse_others(context: typer.Context, protocol: ProtocolChoice, *, folder: bool) -> None:
    """Refuse options that the chosen protocol would ignore."""
    if protocol.paper and protocol.recognition:
        raise UsageError("--paper and --recognition are two evaluations", hint="Give one of them.")
    for name in (_option(n) for n in context.params if _is_given(context, n)):
        if protocol.recognition:
            _refuse_beside_recognition(name, folder=folder)
        elif protocol.paper and name in _PLAIN_ONLY:
            raise UsageError(f"--{name} is not for --paper", hint="Example: myvlm evaluate --paper --seeds 0,1,2")
        elif not protocol.paper and name in (*_PAPER_ONLY, *_EITHER_ONLY):
            also = " or --recognition" if name in _EITHER_ONLY else ""
            raise UsageError(f"--{name} is for --paper{also}", hint="Example: myvlm evaluate --paper --seeds 0,1,2")


def _refuse_beside_recognition(name: str, *, folder: bool) -> None:
    if name in _NOT_RECOGNITION:
        raise UsageError(f"--{name} is not for --recognition", hint="Example: myvlm evaluate --recognition --seeds 0,1")
    if folder and name in _DRAWN_ONLY:
        message = f"--{name} is about drawn libraries, not for --recognition --data"
        raise UsageError(message, hint="Leave out one of them.")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _option(name: str) -> str:
    return "out" if name == "out_folder" else name


def _recognition_settings(
    sizes: SizeChoice, protocol: ProtocolChoice, models: o.ModelChoice, source: SourceChoice
) -> "RecognitionSettings":
    from engine.benchmarks.recognition import RecognitionSettings

    device, dtype = _place(models)
    return RecognitionSettings(
        seeds=_numbers(protocol.seeds),
        photos=sizes.photos or 2000,
        out=protocol.out_folder,
        data=source.data,
        recogniser=_recogniser(models, source.data),
        device=device,
        dtype=dtype,
        workers=source.workers,
    )


def _paper_settings(
    sizes: SizeChoice, protocol: ProtocolChoice, models: o.ModelChoice, source: SourceChoice
) -> "PaperSettings":
    from engine.benchmarks.settings import PaperSettings

    device, dtype = _place(models)
    vlms = _split(protocol.vlms) if protocol.vlms is not None else _usual_vlms(source.data, device)
    return PaperSettings(
        seeds=_numbers(protocol.seeds),
        concepts=sizes.concepts if source.data else sizes.concepts or 10,
        photos=sizes.photos if source.data else sizes.photos or 3,
        vlms=vlms,
        tables=_tables(protocol.tables),
        out=protocol.out_folder,
        data=source.data,
        llm=source.llm,
        steps=sizes.steps,
        recogniser=_recogniser(models, source.data),
        device=device,
        dtype=dtype,
        workers=source.workers,
    )


def _place(models: o.ModelChoice) -> tuple[str, str]:
    """Return the device and the number format; the benchmarks' own data folders have no `config.toml`."""
    return str(default_of("device", models.device)), str(default_of("dtype", models.dtype))


def _recogniser(models: o.ModelChoice, data: Path | None) -> str | None:
    """Return the recogniser that was chosen; the one in `config.toml` is for photos, not for drawings."""
    chosen = default_of("recogniser", models.recogniser) if data else models.recogniser
    return None if chosen is None else str(chosen)


def _usual_vlms(data: Path | None, device: str) -> tuple[str, ...]:
    from engine.benchmarks.settings import DRAWN_VLMS

    if data is None:
        return DRAWN_VLMS
    models = o.ModelChoice(device=device).open_session(create=False).models
    models.check_has_vlm()
    return (models.vlm_config.name,)


def _run_recognition(settings: "RecognitionSettings", *, as_json: bool) -> None:
    from engine.benchmarks.recognition import evaluate_recognition

    document, tables = evaluate_recognition(settings, out.say)
    _print(document, tables, as_json=as_json)


def _run_paper(settings: "PaperSettings", *, as_json: bool) -> None:
    from engine.benchmarks.report import evaluate_paper

    document, tables = evaluate_paper(settings, out.say)
    _print(document, tables, as_json=as_json)


def _print(document: Document, tables: "list[PaperTable]", *, as_json: bool) -> None:
    from engine.benchmarks.render import render_table

    if as_json:
        out.json_document(document)
        return
    for table in tables:
        out.block(render_table(table))


def _run_storybook(settings: "Settings", choices: "SessionOptions", *, as_json: bool) -> None:
    from engine.benchmarks.storybook import evaluate as evaluate_storybook

    document = evaluate_storybook(settings, choices, out.say)
    if as_json:
        out.json_document(document)
    else:
        out.table(_table(document, settings.seed))


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(text: str) -> tuple[int, ...]:
    parts = _split(text)
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--seeds takes whole numbers, not {text!r}", hint="Example: --seeds 0,1,2")
    return tuple(map(int, parts))


def _tables(text: str) -> tuple[str, ...]:
    from engine.benchmarks.settings import TABLES

    parts = _split(text)
    if not parts or set(parts) - set(TABLES):
        raise UsageError(f"--tables takes some of {','.join(TABLES)}, not {text!r}", hint="Example: --tables 1,5,more")
    return tuple(t for t in TABLES if t in parts)


def _table(document: Document, seed: int) -> "Table":
    """Return the figures of the storybook benchmark as a table: those entries that hold a confidence interval each."""
    from rich.table import Table

    table = Table(title=f"Storybook benchmark, seed {seed}")
    for heading in ("figure", "where", "value", "95 % interval", "n"):
        table.add_column(heading)
    for name, by in document.items():
        if isinstance(by, dict) and all(isinstance(f, dict) and "ci95" in f for f in by.values()):
            for key, f in by.items():
                low, high = f["ci95"]
                table.add_row(name, key, f"{f['value']:.3f}", f"{low:.3f} .. {high:.3f}", str(f["n"]))
    return table
