"""The options of `myvlm evaluate`, what each evaluation takes of them, and how their values are read."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from engine.core.errors import UsageError

_PAPER = "With --paper: "
_SEVERAL = "With --paper, --recognition, --speaking or --data: "
_OUT = "With --paper, --recognition, --speaking, --speed or --data: "
_PHOTOS = "With --data: "
_MODELS = ("device", "dtype")


class Evaluation(Enum):
    """An evaluation: the option that asks for it, and the options that it takes."""

    STORYBOOK = ("", ("seed", "concepts", "photos", "steps", "captions"))
    PAPER = (
        "--paper",
        (
            "concepts",
            "photos",
            "steps",
            "paper",
            "seeds",
            "vlms",
            "tables",
            "out",
            "recogniser",
            "data",
            "llm",
            "workers",
        ),
    )
    LIBRARIES = ("--recognition", ("photos", "recognition", "seeds", "out", "recogniser", "workers"))
    SPEAKING = ("--speaking", ("concepts", "photos", "steps", "speaking", "seeds", "vlms", "out"))
    UNNAMED = ("--unnamed", ("photos", "unnamed", "seeds", "out", "recogniser", "data", "strangers"))
    SPEED = ("--speed", ("speed", "seed", "photos", "out", "cases", "rounds"))
    PHOTOS = (
        "--data",
        ("recognition", "seeds", "out", "recogniser", "data", "references", "strangers", "look-alikes", "only-concepts")
        + ("exclude-concepts",),
    )

    @property
    def option(self) -> str:
        """The option that asks for it; "" for the one that is run without such an option."""
        return self.value[0]

    def takes(self, option: str) -> bool:
        """Return whether it takes an option, given by name without dashes."""
        return option in (*self.value[1], "json") or (option in _MODELS and self is not Evaluation.SPEED)


@dataclass(frozen=True)
class SizeChoice:
    """How many concepts and photos are measured, and how concepts are trained."""

    concepts: Annotated[
        int | None,
        typer.Option(
            help="Number of individuals to learn. Default: 10; with --speaking 12, with --paper --data all.",
            min=1,
            show_default=False,
        ),
    ] = None
    photos: Annotated[
        int | None,
        typer.Option(
            help="Test photos per concept and split. Default: 5; with --paper or --speaking 3, with --paper --data all."
            " With --recognition and --unnamed: photos in each library, 2000 and 800. With --speed: photos in each"
            " case; default: its own.",
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
    speaking: Annotated[
        bool,
        typer.Option(
            "--speaking", help="Measure names as text, embeddings and both, on drawings; see caption --speak."
        ),
    ] = False
    unnamed: Annotated[
        bool,
        typer.Option(
            "--unnamed",
            help="Measure groups of faces and animals without a name, on drawings and in --data; see people.",
        ),
    ] = False
    speed: Annotated[
        bool,
        typer.Option("--speed", help="Time scans, runs, captions and training against honest baselines, in turn."),
    ] = False
    cases: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="With --speed: comma-separated cases to time. Default: all.", show_default=False
        ),
    ] = None
    rounds: Annotated[int, typer.Option(help="With --speed: how often each way is timed.", min=1)] = 5
    seeds: Annotated[str, typer.Option(help=f"{_SEVERAL}comma-separated seeds.")] = "0,1,2"
    vlms: Annotated[
        str | None,
        typer.Option(
            help="With --paper or --speaking: comma-separated VLMs. Default: the storybook's three, with --speaking its"
            " LLaVA; with --data the best on this disk."
            " With --data they stand for --paper.",
            show_default=False,
        ),
    ] = None
    tables: Annotated[str, typer.Option(help=f"{_PAPER}tables to measure, of 1,2,4,5,6,7,more.")] = "1,2,4,5,6,7,more"
    out_folder: Annotated[Path, typer.Option("--out", help=f"{_OUT}folder for tables, plots and partial results.")] = (
        Path("evaluation")
    )


@dataclass(frozen=True)
class SourceChoice:
    """The photos, the language model of the baseline, and the processes that share the work."""

    data: Annotated[
        Path | None,
        typer.Option(
            help="Measure recognition on your own photos, ROOT/CONCEPT/*.jpg; with --paper captions, for which it takes"
            " captions.json.",
            show_default=False,
        ),
    ] = None
    llm: Annotated[
        str | None,
        typer.Option(
            help=f"{_PAPER}hub id, folder or GGUF file of a local instruct model, for a baseline.", show_default=False
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            help="With --paper or --recognition: processes that share the work, for small models on a CPU.", min=1
        ),
    ] = 1


@dataclass(frozen=True)
class PhotoChoice:
    """What is measured of recognition on the user's photos."""

    references: Annotated[str, typer.Option(help=f"{_PHOTOS}comma-separated numbers of reference photos.")] = "1,2,3,5"
    strangers: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help=f"{_PHOTOS}photos that show none of the concepts, with subfolders; may be repeated.",
            show_default=False,
        ),
    ] = None
    look_alikes: Annotated[
        str | None,
        typer.Option(
            metavar="PAIRS",
            help=f"{_PHOTOS}concepts to tell apart, such as dog:dog6,cat:cat2. Default: those whose names differ only"
            " by a number.",
            show_default=False,
        ),
    ] = None
    only_concepts: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help=f"{_PHOTOS}comma-separated concepts to enrol, all at once; the others are strangers. Default: half of"
            " the concepts at a time.",
            show_default=False,
        ),
    ] = None
    exclude_concepts: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help=f"{_PHOTOS}comma-separated concepts to leave out altogether.", show_default=False
        ),
    ] = None


def choose_evaluation(protocol: ProtocolChoice, source: SourceChoice) -> Evaluation:
    """Return which evaluation is asked for.

    Raises:
        UsageError: two are.
    """
    chosen = {"--paper": protocol.paper, "--recognition": protocol.recognition}
    chosen |= {"--speaking": protocol.speaking, "--unnamed": protocol.unnamed, "--speed": protocol.speed}
    given = [option for option, is_given in chosen.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} are two evaluations", hint="Give one of them.")
    if protocol.speed:
        return Evaluation.SPEED
    if protocol.unnamed:
        return Evaluation.UNNAMED
    if protocol.speaking:
        return Evaluation.SPEAKING
    if protocol.paper or (source.data and protocol.vlms is not None and not protocol.recognition):
        return Evaluation.PAPER
    if source.data:
        return Evaluation.PHOTOS
    return Evaluation.LIBRARIES if protocol.recognition else Evaluation.STORYBOOK


def refuse_others(context: typer.Context, evaluation: Evaluation) -> None:
    """Refuse given options that the evaluation would ignore.

    Raises:
        UsageError: there is one.
    """
    for parameter in context.params:
        option = "out" if parameter == "out_folder" else parameter.replace("_", "-")
        source = context.get_parameter_source(parameter)
        if source is None or source.name != "COMMANDLINE" or evaluation.takes(option):
            continue
        if evaluation.option:
            raise UsageError(f"--{option} is not for {evaluation.option}", hint="Leave out one of them.")
        others = [e.option for e in Evaluation if e.takes(option)]
        raise UsageError(f"--{option} is for {' or '.join(others)}", hint="See myvlm evaluate --help.")


def split(text: str | None) -> tuple[str, ...]:
    """Return the parts of a comma-separated list, each once."""
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def read_numbers(text: str, option: str, *, least: int = 0) -> tuple[int, ...]:
    """Read a comma-separated list of whole numbers.

    Raises:
        UsageError: it is none, or a number is too small.
    """
    parts = split(text)
    if not parts or not all(part.isdecimal() and int(part) >= least for part in parts):
        numbers = "whole numbers" if not least else f"whole numbers from {least}"
        raise UsageError(f"{option} takes {numbers}, not {text!r}", hint=f"Example: {option} 1,2,3")
    return tuple(map(int, parts))


def read_pairs(text: str | None) -> tuple[tuple[str, str], ...] | None:
    """Read pairs such as dog:dog6,cat:cat2; None without a text.

    Raises:
        UsageError: a part is no pair of two names.
    """
    if text is None:
        return None
    pairs = [tuple(name.strip() for name in part.split(":")) for part in split(text)]
    if not pairs or not all(len(p) == 2 and all(p) and p[0] != p[1] for p in pairs):
        raise UsageError(
            f"--look-alikes takes pairs of two names, not {text!r}", hint="Example: --look-alikes dog:dog6,cat:cat2"
        )
    return tuple((a, b) for a, b in pairs)


def read_tables(text: str) -> tuple[str, ...]:
    """Read the paper's tables to measure, in their order.

    Raises:
        UsageError: one of them is unknown.
    """
    from engine.benchmarks.settings import TABLES

    parts = split(text)
    if not parts or set(parts) - set(TABLES):
        raise UsageError(f"--tables takes some of {','.join(TABLES)}, not {text!r}", hint="Example: --tables 1,5,more")
    return tuple(t for t in TABLES if t in parts)
