"""`myvlm evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out

if TYPE_CHECKING:
    from engine.benchmarks.recognition import RecognitionSettings
    from engine.benchmarks.settings import PaperSettings

_PAPER = "With --paper: "
_EITHER = "With --paper or --recognition: "
Seeds = Annotated[str, typer.Option(help=f"{_EITHER}comma-separated seeds.")]
Vlms = Annotated[
    str | None,
    typer.Option(
        help=f"{_PAPER}comma-separated VLMs. Default: the storybook's three; with --data the best on this disk.",
        show_default=False,
    ),
]
Tables = Annotated[str, typer.Option(help=f"{_PAPER}tables to measure, of 1,2,4,5,6,7,more.")]
Out = Annotated[Path, typer.Option("--out", help=f"{_EITHER}folder for tables, plots and partial results.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help=f"{_EITHER}your own photos, ROOT/CONCEPT/*.jpg; --paper takes captions.json with them.", show_default=False
    ),
]
Llm = Annotated[
    str | None,
    typer.Option(help=f"{_PAPER}hub id or folder of a local instruct model (baseline).", show_default=False),
]
Workers = Annotated[
    int, typer.Option(help=f"{_EITHER}processes that share the work, for small models on a CPU.", min=1)
]
Concepts = Annotated[
    int | None,
    typer.Option(help="How many individuals to learn. Default: 10; with --data all.", min=1, show_default=False),
]
Photos = Annotated[
    int | None,
    typer.Option(
        help="Test photos per concept and split. Default: 5; with --paper 3, with --data all. With --recognition:"
        " photos of each library, 2000.",
        min=1,
        show_default=False,
    ),
]
Recognition = Annotated[
    bool, typer.Option("--recognition", help="Recognition alone, in drawn libraries: false names, recall, mix-ups.")
]
_PAPER_ONLY = ("vlms", "tables", "llm")
_EITHER_ONLY = ("seeds", "out", "data", "workers", "recogniser")
_PLAIN_ONLY = ("seed", "captions")
_NOT_RECOGNITION = (*_PAPER_ONLY, *_PLAIN_ONLY, "concepts", "steps")
_NOT_ITS_FOLDER = ("seeds", "photos", "workers")


def evaluate(
    context: typer.Context,
    seed: o.Seed = 0,
    concepts: Concepts = None,
    photos: Photos = None,
    steps: Annotated[
        int | None, typer.Option(help="Training steps. Default: the VLM's.", min=1, show_default=False)
    ] = None,
    captions: Annotated[str, typer.Option(help="given: with the training photos; written: by the VLM.")] = "given",
    paper: Annotated[bool, typer.Option("--paper", help="The paper's protocol: its tables, baselines, plots.")] = False,
    recognition: Recognition = False,
    seeds: Seeds = "0,1,2",
    vlms: Vlms = None,
    tables: Tables = "1,2,4,5,6,7,more",
    out_folder: Out = Path("evaluation"),
    recogniser: o.Recogniser = None,
    data: Data = None,
    llm: Llm = None,
    workers: Workers = 1,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
) -> None:
    """Measure recall, context, false names and boxes: on drawn concepts and scenes that nothing was trained on, or,
    with --paper --data, on your own photos. --recognition measures who is named in whole libraries, and loads no VLM.

    Example: myvlm evaluate --recognition --seeds 0,1,2 --out evaluation
    """
    from engine.core.errors import UsageError

    if captions not in ("given", "written"):
        raise UsageError(f"--captions is given or written, not {captions!r}", hint="Example: --captions written")
    _refuse_others(context, paper=paper, recognition=recognition, folder=data is not None)
    if recognition:
        from engine.benchmarks.recognition import RecognitionSettings

        chosen = (_numbers(seeds), photos or 2000, out_folder, data, recogniser, device, dtype, workers)
        _run_recognition(RecognitionSettings(*chosen), as_json=json)
        return
    if paper:
        from engine.benchmarks.settings import PaperSettings

        sizes = (concepts, photos) if data else (concepts or 10, photos or 3)
        models = _split(vlms) if vlms is not None else _usual_vlms(data, device)
        asked = (_numbers(seeds), *sizes, models, _tables(tables), out_folder, data, llm, steps, recogniser)
        _run_paper(PaperSettings(*asked, device, dtype, workers), as_json=json)
        return
    from engine.benchmarks.storybook import Settings, evaluate
    from engine.session import SessionOptions

    settings = Settings(seed, concepts or 10, photos or 5, steps, captions)
    document = evaluate(settings, SessionOptions("storybook", None, device, dtype), out.say)
    out.json_document(document) if json else out.table(_table(document))


def _refuse_others(context: typer.Context, *, paper: bool, recognition: bool, folder: bool) -> None:
    """Refuse options that would be passed over."""
    from engine.core.errors import UsageError

    if paper and recognition:
        raise UsageError("--paper and --recognition are two evaluations", hint="Give one of them.")
    given = [name for name in context.params if _is_given(context, name)]
    for name in map(_option, given):
        if recognition and name in _NOT_RECOGNITION:
            raise UsageError(
                f"--{name} is not for --recognition", hint="Example: myvlm evaluate --recognition --seeds 0,1"
            )
        if recognition and folder and name in _NOT_ITS_FOLDER:
            told = f"--{name} is about drawn libraries, not for --recognition --data"
            raise UsageError(told, hint="Leave out one of them.")
        if paper and name in _PLAIN_ONLY:
            raise UsageError(f"--{name} is not for --paper", hint="Seeds there: --seeds 0,1,2")
        if not (paper or recognition) and name in (*_PAPER_ONLY, *_EITHER_ONLY):
            also = " or --recognition" if name in _EITHER_ONLY else ""
            raise UsageError(f"--{name} is for --paper{also}", hint="Example: myvlm evaluate --paper --seeds 0,1,2")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _option(name: str) -> str:
    return "out" if name == "out_folder" else name


def _usual_vlms(data: Path | None, device: str) -> tuple[str, ...]:
    from engine.benchmarks.settings import DRAWN_VLMS
    from engine.session import Session, SessionOptions

    return (Session(SessionOptions(device=device)).vlm_config.name,) if data else DRAWN_VLMS


def _run_paper(settings: "PaperSettings", *, as_json: bool) -> None:
    from engine.benchmarks.render import render_table
    from engine.benchmarks.report import evaluate_paper

    document, tables = evaluate_paper(settings, out.say)
    if as_json:
        out.json_document(document)
        return
    for found in tables:
        out.block(render_table(found))


def _run_recognition(settings: "RecognitionSettings", *, as_json: bool) -> None:
    from engine.benchmarks.recognition import evaluate_recognition
    from engine.benchmarks.render import render_table

    document, tables = evaluate_recognition(settings, out.say)
    if as_json:
        out.json_document(document)
        return
    for found in tables:
        out.block(render_table(found))


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(text: str) -> tuple[int, ...]:
    from engine.core.errors import UsageError

    found = _split(text)
    if not found or not all(part.isdecimal() for part in found):
        raise UsageError(f"--seeds takes whole numbers, not {text!r}", hint="Example: --seeds 0,1,2")
    return tuple(map(int, found))


def _tables(text: str) -> tuple[str, ...]:
    from engine.benchmarks.settings import TABLES
    from engine.core.errors import UsageError

    found = _split(text)
    if not found or set(found) - set(TABLES):
        raise UsageError(f"--tables takes some of {','.join(TABLES)}, not {text!r}", hint="Example: --tables 1,5,more")
    return tuple(t for t in TABLES if t in found)


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
