"""`myvlm models`: list, download and convert VLMs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli import options as o
from myvlm_cli.commands import App
from myvlm_cli.completion import complete_vlm
from myvlm_cli.output import Document, out
from myvlm_cli.tables import Column, print_table

if TYPE_CHECKING:
    from engine.vlms.config import VlmConfig

app = App(invoke_without_command=True)


@app.callback()
def default(context: typer.Context, json: o.Json = False) -> None:
    """List, download and convert VLMs. Without a subcommand, list them.

    Example: myvlm models
    """
    if context.invoked_subcommand is None:
        _list(json=json)


@app.command("list")
def list_models(json: o.Json = False) -> None:
    """List the VLMs that myvlm knows by name.

    Example: myvlm models list --json
    """
    _list(json=json)


def _list(*, json: bool) -> None:
    from engine.core.paths import stay_offline

    stay_offline()
    from engine.vlms.config import list_configs

    configs = list_configs()
    if json:
        out.json_document({"vlms": [_describe(c) for c in configs]})
        return
    print_table(_COLUMNS, [_cells(c) for c in configs])
    out.say("Next: myvlm doctor shows which of them this machine can run; myvlm models pull NAME downloads one.")


def _describe(config: "VlmConfig") -> Document:
    from engine.vlms.registry import find_weights

    return {
        "name": config.name,
        "repo": config.repo_id,
        "on_disk": find_weights(config) is not None,
        "disk_gb": config.disk_gb,
        "memory_gb": config.memory_gb,
        "license": config.license,
        "recogniser": config.recogniser,
    }


_COLUMNS = (
    Column("name"),
    Column("for"),
    Column("on_disk"),
    Column("size", "right", only="terminal"),
    Column("GPU", "right", only="terminal"),
    Column("disk_gb", only="pipe"),
    Column("gpu_gb", only="pipe"),
    Column("repo", only="pipe"),
    Column("license", prose=True),
)
"""Size and GPU memory are in GB; the storybook VLMs need no GPU."""


def _cells(config: "VlmConfig") -> tuple[str, ...]:
    from engine.vlms.registry import find_weights

    size, gpu = f"{config.disk_gb:g}", f"{config.memory_gb.get('float16', 0):g}"
    return (
        config.name,
        "drawings" if config.world else "photos",
        "no" if find_weights(config) is None else "yes",
        f"{size} GB",
        "-" if gpu == "0" else f"{gpu} GB",
        size,
        gpu,
        config.repo_id,
        config.license,
    )


@app.command("pull")
def pull(name: Annotated[str, typer.Argument(help="A VLM's name or hub id.", autocompletion=complete_vlm)]) -> None:
    """Download a VLM. This is the only command that uses the network.

    Example: myvlm models pull llava-1.6
    """
    from engine.core.paths import go_online

    go_online()
    from engine.vlms.config import find_config
    from engine.vlms.download import download_weights
    from engine.vlms.registry import CONVERTED, how_to_get

    config = find_config(name)
    if config.repo_id.startswith(CONVERTED):
        raise UsageError(f"no hub repository holds {config.name} as a whole", hint=how_to_get(config))
    out.say(f"{config.repo_id}: {config.disk_gb:g} GB, licence: {config.license}")
    out.text(str(download_weights(config)))
    out.say(f"Next: myvlm caption FOLDER --vlm {config.name}")


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
    from engine.vlms.config import find_config
    from engine.vlms.registry import CONVERTED, converted_folder

    config = find_config(name)
    if not config.repo_id.startswith(CONVERTED):
        raise UsageError(f"{config.name} needs no conversion", hint=f"Run: myvlm models pull {config.name}")
    from engine.vlms.minigpt_convert import convert

    folder = convert(vit, checkpoint, llama, to or converted_folder(config))
    out.text(str(folder))
    out.say(f"Next: myvlm caption FOLDER --vlm {shlex.quote(str(folder)) if to else config.name}")
