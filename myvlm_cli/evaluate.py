"""`myvlm evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli import evaluation as e
from myvlm_cli import options as o
from myvlm_cli.output import Document, out
from myvlm_cli.parameters import Without
from myvlm_cli.sessions import default_of

if TYPE_CHECKING:
    from rich.table import Table

    from engine.benchmarks.figures import Table as PaperTable
    from engine.benchmarks.photo_evaluation import PhotoSettings
    from engine.benchmarks.recognition import RecognitionSettings
    from engine.benchmarks.settings import PaperSettings
    from engine.benchmarks.speaking import SpeakingSettings
    from engine.benchmarks.speed.run import SpeedRequest
    from engine.benchmarks.unnamed import UnnamedSettings


def evaluate(
    *,
    context: typer.Context,
    seed: o.Seed = 0,
    sizes: e.SizeChoice,
    protocol: e.ProtocolChoice,
    models: Annotated[o.ModelChoice, Without("vlm", "heads", "allow_body", "quantise")],
    source: e.SourceChoice,
    selection: e.PhotoChoice,
    json: o.Json = False,
) -> None:
    """Measure recall, context, false names and boxes on drawn concepts and scenes that were not used in training.

    --data ROOT measures recognition in your own photos, by one recogniser or several (--recogniser A,B; default: all
    on this disk that know real photos), and loads no VLM. --recognition measures it in whole drawn libraries. --paper
    measures captions. --speaking compares names as text with embeddings. --unnamed measures the groups of people.
    --speed times this program on this machine.

    Example: myvlm evaluate --data photos --strangers others --out evaluation
    """
    if sizes.captions not in ("given", "written"):
        raise UsageError(
            f"--captions must be given or written, not {sizes.captions!r}", hint="Example: --captions written"
        )
    evaluation = e.choose_evaluation(protocol, source)
    e.refuse_others(context, evaluation)
    if evaluation is e.Evaluation.PHOTOS:
        _run_photos(_photo_settings(protocol, models, source, selection), as_json=json)
    elif evaluation is e.Evaluation.LIBRARIES:
        _run_recognition(_recognition_settings(sizes, protocol, models, source), as_json=json)
    elif evaluation is e.Evaluation.SPEAKING:
        _run_speaking(_speaking_settings(sizes, protocol, models), as_json=json)
    elif evaluation is e.Evaluation.UNNAMED:
        _run_unnamed(_unnamed_settings(sizes, protocol, models, source, selection), as_json=json)
    elif evaluation is e.Evaluation.SPEED:
        _run_speed(_speed_request(sizes, protocol, seed), as_json=json)
    elif evaluation is e.Evaluation.PAPER:
        _run_paper(_paper_settings(sizes, protocol, models, source), as_json=json)
    else:
        _run_storybook(sizes, models, seed, as_json=json)


def _photo_settings(
    protocol: e.ProtocolChoice, models: o.ModelChoice, source: e.SourceChoice, selection: e.PhotoChoice
) -> "PhotoSettings":
    from engine.benchmarks.photo_data import PhotoRequest
    from engine.benchmarks.photo_evaluation import PhotoSettings

    request = PhotoRequest(
        root=source.data or Path(),
        references=tuple(sorted(e.read_numbers(selection.references, "--references", least=1))),
        seeds=e.read_numbers(protocol.seeds, "--seeds"),
        strangers=tuple(selection.strangers or ()),
        look_alikes=e.read_pairs(selection.look_alikes),
        only=e.split(selection.only_concepts),
        exclude=e.split(selection.exclude_concepts),
    )
    recognisers = e.split(models.recogniser) if models.recogniser else ()
    return PhotoSettings(request, recognisers, protocol.out_folder, *_place(models))


def _recognition_settings(
    sizes: e.SizeChoice, protocol: e.ProtocolChoice, models: o.ModelChoice, source: e.SourceChoice
) -> "RecognitionSettings":
    from engine.benchmarks.recognition import RecognitionSettings

    device, dtype = _place(models)
    return RecognitionSettings(
        seeds=e.read_numbers(protocol.seeds, "--seeds"),
        photos=sizes.photos or 2000,
        out=protocol.out_folder,
        recogniser=_recogniser(models, source.data),
        device=device,
        dtype=dtype,
        workers=source.workers,
    )


def _unnamed_settings(
    sizes: e.SizeChoice,
    protocol: e.ProtocolChoice,
    models: o.ModelChoice,
    source: e.SourceChoice,
    selection: e.PhotoChoice,
) -> "UnnamedSettings":
    from engine.benchmarks.photo_data import PhotoRequest
    from engine.benchmarks.unnamed import UnnamedSettings

    device, dtype = _place(models)
    return UnnamedSettings(
        seeds=e.read_numbers(protocol.seeds, "--seeds"),
        photos=sizes.photos or 800,
        data=PhotoRequest(source.data, strangers=tuple(selection.strangers or ())) if source.data else None,
        recognisers=e.split(models.recogniser) if models.recogniser else (),
        out=protocol.out_folder,
        device=device,
        dtype=dtype,
    )


def _paper_settings(
    sizes: e.SizeChoice, protocol: e.ProtocolChoice, models: o.ModelChoice, source: e.SourceChoice
) -> "PaperSettings":
    from engine.benchmarks.settings import PaperSettings

    device, dtype = _place(models)
    vlms = e.split(protocol.vlms) if protocol.vlms is not None else _usual_vlms(source.data, device)
    return PaperSettings(
        seeds=e.read_numbers(protocol.seeds, "--seeds"),
        concepts=sizes.concepts if source.data else sizes.concepts or 10,
        photos=sizes.photos if source.data else sizes.photos or 3,
        vlms=vlms,
        tables=e.read_tables(protocol.tables),
        out=protocol.out_folder,
        data=source.data,
        llm=source.llm,
        steps=sizes.steps,
        recogniser=_recogniser(models, source.data),
        device=device,
        dtype=dtype,
        workers=source.workers,
    )


def _speaking_settings(sizes: e.SizeChoice, protocol: e.ProtocolChoice, models: o.ModelChoice) -> "SpeakingSettings":
    from engine.benchmarks.speaking import SpeakingSettings

    device, dtype = _place(models)
    return SpeakingSettings(
        seeds=e.read_numbers(protocol.seeds, "--seeds"),
        concepts=sizes.concepts or 12,
        photos=sizes.photos or 3,
        vlms=e.split(protocol.vlms or "storybook"),
        steps=sizes.steps,
        out=protocol.out_folder,
        device=device,
        dtype=dtype,
    )


def _speed_request(sizes: e.SizeChoice, protocol: e.ProtocolChoice, seed: int) -> "SpeedRequest":
    from engine.benchmarks.speed.run import CASES, SpeedRequest

    cases = e.split(protocol.cases) if protocol.cases is not None else tuple(CASES)
    return SpeedRequest(cases, seed, sizes.photos, protocol.rounds, protocol.out_folder)


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


def _run_photos(settings: "PhotoSettings", *, as_json: bool) -> None:
    from engine.benchmarks.photo_evaluation import evaluate_photos

    document, tables = evaluate_photos(settings, out.say)
    _print(document, tables, as_json=as_json)


def _run_recognition(settings: "RecognitionSettings", *, as_json: bool) -> None:
    from engine.benchmarks.recognition import evaluate_recognition

    document, tables = evaluate_recognition(settings, out.say)
    _print(document, tables, as_json=as_json)


def _run_speaking(settings: "SpeakingSettings", *, as_json: bool) -> None:
    from engine.benchmarks.speaking import evaluate_speaking

    document, tables = evaluate_speaking(settings, out.say)
    _print(document, tables, as_json=as_json)


def _run_unnamed(settings: "UnnamedSettings", *, as_json: bool) -> None:
    from engine.benchmarks.unnamed import evaluate_unnamed

    document, tables = evaluate_unnamed(settings, out.say)
    _print(document, tables, as_json=as_json)


def _run_speed(request: "SpeedRequest", *, as_json: bool) -> None:
    from engine.benchmarks.speed.run import evaluate_speed

    document, tables = evaluate_speed(request, out.say)
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


def _run_storybook(sizes: e.SizeChoice, models: o.ModelChoice, seed: int, *, as_json: bool) -> None:
    from engine.benchmarks.storybook import Settings
    from engine.benchmarks.storybook import evaluate as evaluate_storybook
    from engine.session import SessionOptions

    settings = Settings(seed, sizes.concepts or 10, sizes.photos or 5, sizes.steps, sizes.captions)
    choices = SessionOptions("storybook", None, *_place(models))
    document = evaluate_storybook(settings, choices, out.say)
    if as_json:
        out.json_document(document)
    else:
        out.table(_table(document, settings.seed))


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
