"""`myvlm models`: list, download and convert models."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli import options as o
from myvlm_cli.commands import App
from myvlm_cli.completion import complete_part, complete_vlm
from myvlm_cli.licences import AcceptLicense, check_accepted
from myvlm_cli.output import Document, out
from myvlm_cli.tables import Column, print_table

if TYPE_CHECKING:
    from engine.setup.parts import Part
    from engine.vlms.config import VlmConfig
    from engine.vlms.memory import Room

app = App(invoke_without_command=True)


@app.callback()
def default(context: typer.Context, json: o.Json = False) -> None:
    """List, download and convert models. Without a subcommand, list them.

    Example: myvlm models
    """
    if context.invoked_subcommand is None:
        _list(json=json)


@app.command("list")
def list_models(json: o.Json = False) -> None:
    """List the VLMs that myvlm knows by name, those of a running Ollama, and the parts of recognisers to download.

    Example: myvlm models list --json
    """
    _list(json=json)


def _list(*, json: bool) -> None:
    from engine.core.paths import stay_offline

    stay_offline()
    from engine.chosen_models import usual_room
    from engine.setup.parts import list_parts
    from engine.vlms.config import list_configs
    from engine.vlms.memory import QUANTISED
    from engine.vlms.preference import by_preference

    here = usual_room()
    room = replace(here, quantised=QUANTISED[here.device])
    configs, parts, served = by_preference(list_configs()), list_parts(vlms=()), _list_served()
    if json:
        vlms, recognisers = [_describe(c, room) for c in configs], [_describe_part(p) for p in parts]
        out.json_document({"vlms": vlms, "recognisers": recognisers, "ollama": served})
        return
    vlms_here = [*(_cells(c, room) for c in configs), *map(_served_cells, served)]
    print_table(_COLUMNS, [*vlms_here, *map(_part_cells, parts)])
    for line in _notes(here):
        out.say(line)
    out.say("Next: myvlm setup chooses for this machine; myvlm models pull NAME downloads one of them.")


def _list_served() -> list[str]:
    """List the vision models of an Ollama that runs on this machine, as `--vlm` takes them."""
    from engine.vlms.server.served import find_ollama, name_of

    ollama = find_ollama()
    return [name_of(m) for m in (ollama.models or ())] if ollama else []


def _notes(room: "Room") -> Iterator[str]:
    """Say what the column `fits` means here."""
    from engine.vlms.memory import QUANTISED

    if room.device == "cpu":
        yield "There is no GPU here: VLMs that fit run on the CPU, which is slow."
    if set(QUANTISED[room.device]) - set(room.quantised):
        yield f"{' and '.join(QUANTISED[room.device])} need: pip install 'myvlm[quantise]'"
    yield "Other VLMs: --vlm takes any hub id or folder of such a family."


def _describe(config: "VlmConfig", room: "Room") -> Document:
    from engine.vlms.memory import fits, memory_by_format
    from engine.vlms.registry import find_weights

    return {
        "name": config.name,
        "repo": config.repo_id,
        "on_disk": find_weights(config) is not None,
        "fits": fits(config, room) or None,
        "disk_gb": config.disk_gb,
        "memory_gb": memory_by_format(config),
        "license": config.license,
        "recogniser": config.recogniser,
        "sources": config.sources,
    }


def _describe_part(part: "Part") -> Document:
    return {
        "name": part.name,
        "repo": part.repo_id or None,
        "recognises": part.enables.split(", "),
        "on_disk": part.on_disk,
        "disk_gb": part.disk_gb,
        "license": part.license,
    }


_COLUMNS = (
    Column("name"),
    Column("for", optional=True),
    Column("on_disk"),
    Column("fits"),
    Column("GB", "right", only="terminal"),
    Column("needs", "right", only="terminal"),
    Column("disk_gb", only="pipe"),
    Column("memory_gb", only="pipe"),
    Column("repo", only="pipe"),
    Column("license", prose=True),
)
"""fits: the number format in which a VLM fits this machine, or no. On a terminal the GB on disk and of memory, in that
format or else the smallest, have shorter headings."""


def _cells(config: "VlmConfig", room: "Room") -> tuple[str, ...]:
    from engine.vlms.memory import fits, least_format, memory_needed
    from engine.vlms.registry import find_weights

    precision = fits(config, room)
    size, need = f"{config.disk_gb:g}", f"{memory_needed(config, precision or least_format(config, room)):g}"
    return (
        config.name,
        "drawings" if config.world else "photos",
        "no" if find_weights(config) is None else "yes",
        precision or "no",
        size,
        need,
        size,
        need,
        config.repo_id,
        config.license,
    )


def _served_cells(name: str) -> tuple[str, ...]:
    return (name, "photos", "yes", "-", "", "", "", "", "", "served by Ollama; see the model's own card")


def _part_cells(part: "Part") -> tuple[str, ...]:
    size, on_disk = f"{part.disk_gb:g}", "yes" if part.on_disk else "no"
    return (part.name, part.enables, on_disk, "", size, "", size, "", part.repo_id, part.license)


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="A model's name, or a VLM's hub id.", autocompletion=complete_part)],
    accept_license: AcceptLicense = None,
) -> None:
    """Download a VLM, the encoder of a recogniser, or a face pack.

    Family, size and licence are read from the model's repository before anything else is fetched. Only this command and
    myvlm setup use the network.

    Example: myvlm models pull llava-1.6
    """
    from engine.core.paths import go_online

    go_online()
    from engine.setup.fetch import fetch_part, find_pullable
    from engine.setup.machine import measure_machine
    from engine.setup.verify import verify_part

    part = find_pullable(name)
    if part.must_accept_license and not part.on_disk:
        check_accepted(part.name, part.license, accept_license or ())
    folder = fetch_part(part, out.say)
    out.say(f"{part.name}: {verify_part(part, measure_machine())}.")
    out.text(str(folder))
    out.say(_after_pull(part))


def _after_pull(part: "Part") -> str:
    """Return what to do after a download: use the model, or fetch what belongs to it."""
    from engine.setup.parts import command_for, parts_of_recogniser
    from engine.vlms.config import VlmConfig

    if isinstance(part.config, VlmConfig):
        return f"Next: myvlm caption FOLDER --vlm {part.name}"
    missing = [p for p in parts_of_recogniser(part.config) if not p.on_disk]
    if missing:
        return f"Next: {command_for(missing[0])}, which recognises {missing[0].enables.replace(', ', ' and ')}"
    return f"Next: myvlm config set recogniser {part.config.name}"


@app.command("convert")
def convert_weights(
    name: Annotated[str, typer.Argument(help="The VLM: minigpt-v2.", autocompletion=complete_vlm)],
    vit: Annotated[Path, typer.Option("--vit", help="eva_vit_g.pth, the vision tower.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="minigptv2_checkpoint.pth, projection and LoRA.")],
    llama: Annotated[Path, typer.Option("--llama", help="A folder with Llama-2-7b-chat-hf.")],
    to: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write. Default: where --vlm minigpt-v2 finds it.", show_default=False),
    ] = None,
) -> None:
    """Convert the published files of MiniGPT-v2 into one folder. Nothing in them is executed.

    Example: myvlm models convert minigpt-v2 --vit eva_vit_g.pth --checkpoint minigptv2_checkpoint.pth --llama llama-2
    """
    from engine.core.paths import stay_offline

    stay_offline()
    from engine.vlms.find import find_config
    from engine.vlms.registry import CONVERTED, converted_folder

    config = find_config(name)
    if not config.repo_id.startswith(CONVERTED):
        raise UsageError(f"{config.name} needs no conversion", hint=f"Run: myvlm models pull {config.name}")
    from engine.vlms.minigpt_convert import convert

    folder = convert(vit, checkpoint, llama, to or converted_folder(config))
    out.text(str(folder))
    out.say(f"Next: myvlm caption FOLDER --vlm {shlex.quote(str(folder)) if to else config.name}")
