"""`myvlm models`: list VLMs, download or convert one."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.commands import App
from myvlm_cli.output import out
from myvlm_cli.tables import Column, print_table

app = App(invoke_without_command=True)


@app.callback()
def default(context: typer.Context, json: o.Json = False) -> None:
    """List VLMs, download or convert one. Without a subcommand: list them.

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
    from engine.vlms.registry import find_weights

    configs = list_configs()
    documents = [
        {
            "name": c.name,
            "repo": c.repo_id,
            "on_disk": find_weights(c) is not None,
            "disk_gb": c.disk_gb,
            "memory_gb": c.memory_gb,
            "license": c.license,
            "recogniser": c.recogniser,
        }
        for c in configs
    ]
    if json:
        out.json_document({"vlms": documents})
        return
    print_table(_COLUMNS, [_cells(d, world=bool(c.world)) for d, c in zip(documents, configs, strict=True)])
    out.say("Next: myvlm doctor says which of them this machine can run; myvlm models pull NAME downloads one.")


_COLUMNS = (
    Column("VLM", "name"),
    Column("for", "for"),
    Column("on disk", "on_disk"),
    Column("size", "", "right"),
    Column("GPU", "", "right"),
    Column("", "disk_gb"),
    Column("", "gpu_gb"),
    Column("", "repo"),
    Column("licence", "license", prose=True),
)
"""Size and GPU memory in GB; the storybook VLMs need no GPU."""


def _cells(document: dict[str, Any], *, world: bool) -> tuple[str, ...]:
    d = document
    size, gpu = f"{d['disk_gb']:g}", f"{d['memory_gb'].get('float16', 0):g}"
    use, on_disk = "drawings" if world else "photos", "yes" if d["on_disk"] else "no"
    return (
        d["name"],
        use,
        on_disk,
        f"{size} GB",
        "-" if gpu == "0" else f"{gpu} GB",
        size,
        gpu,
        d["repo"],
        d["license"],
    )


@app.command("pull")
def pull(name: Annotated[str, typer.Argument(help="A VLM's name or hub id.", autocompletion=o.complete_vlm)]) -> None:
    """Download a VLM. This is the only command that uses the network.

    Example: myvlm models pull llava-1.6
    """
    from engine.core.paths import go_online

    go_online()
    from engine.core.errors import UsageError
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
    name: Annotated[str, typer.Argument(help="The VLM: minigpt-v2.", autocompletion=o.complete_vlm)],
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
    from engine.core.errors import UsageError
    from engine.vlms.config import find_config
    from engine.vlms.registry import CONVERTED, converted_folder

    config = find_config(name)
    if not config.repo_id.startswith(CONVERTED):
        raise UsageError(f"{config.name} needs no conversion", hint=f"Run: myvlm models pull {config.name}")
    from engine.vlms.minigpt_convert import convert

    folder = convert(vit, checkpoint, llama, to or converted_folder(config))
    out.text(str(folder))
    out.say(f"Next: myvlm caption FOLDER --vlm {shlex.quote(str(folder)) if to else config.name}")
