"""`myvlm models`: which VLMs there are, and fetching one."""

from typing import Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out

app = typer.Typer(invoke_without_command=True)


@app.callback()
def default(context: typer.Context, json: o.Json = False) -> None:
    """See which VLMs there are, and fetch one. Without a subcommand: list them.

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
    from engine.config import stay_offline

    stay_offline()
    from engine.vlms.config import list_configs
    from engine.vlms.registry import find_weights

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
        for c in list_configs()
    ]
    if json:
        out.json_document({"vlms": documents})
        return
    for d in documents:
        state = "on disk" if d["on_disk"] else f"not on disk ({d['disk_gb']:g} GB)"
        out.text(f"{d['name']}\t{state}\t{d['repo']}\t{d['license']}")


@app.command("pull")
def pull(name: Annotated[str, typer.Argument(help="A VLM's name or hub id.", autocompletion=o.complete_vlm)]) -> None:
    """Fetch a VLM's weights. The only command that uses the network.

    Example: myvlm models pull llava-1.6
    """
    from engine.vlms.config import find_config
    from engine.vlms.download import download_weights

    config = find_config(name)
    out.say(f"{config.repo_id}: {config.disk_gb:g} GB, licence: {config.license}")
    out.text(str(download_weights(config)))
