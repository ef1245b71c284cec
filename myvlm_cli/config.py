"""`myvlm config`: list, read and change the defaults in `config.toml`."""

from typing import TYPE_CHECKING, Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.commands import App
from myvlm_cli.completion import complete_key
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.sessions import open_session
from myvlm_cli.tables import Column, print_table

if TYPE_CHECKING:
    from engine.core.config_file import Value
    from engine.defaults import Setting

app = App(invoke_without_command=True)
Key = Annotated[
    str, typer.Argument(help="What to set; `myvlm config` lists the keys.", autocompletion=complete_key, metavar="KEY")
]


@app.callback()
def default(context: typer.Context, json: o.Json = False) -> None:
    """Show and change the defaults of options. Without a subcommand, list them with their origin.

    An option wins over config.toml, which wins over what is on this disk and fits, which wins over what is built in.

    Example: myvlm config set vlm llava-1.6
    """
    if context.invoked_subcommand is None:
        _list(json=json)


_COLUMNS = (Column("key"), Column("value"), Column("from", prose=True))


def _list(*, json: bool) -> None:
    from engine.core.config_file import config_path

    models = open_session(create=False).models
    settings = models.settings
    path = path_text(config_path(models.folder))
    if json:
        out.json_document({"file": path, "settings": [_describe(s) for s in settings]})
        return
    print_table(_COLUMNS, [(s.key, _text(s.value), "not set" if s.value is None else s.origin.text) for s in settings])
    if models.why_no_vlm:
        out.say(f"Photos get names only: {models.why_no_vlm}. Next: myvlm setup")
    else:
        out.say(f"Next: myvlm config set KEY VALUE changes {path}")


def _describe(setting: "Setting") -> Document:
    return {"key": setting.key, "value": setting.value, "origin": str(setting.origin)}


def _text(value: "Value | None") -> str:
    """Return a value as it is typed."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


@app.command("get")
def get(key: Key, json: o.Json = False) -> None:
    """Print the value that a setting has without an option; an empty line if it has none.

    Example: myvlm config get vlm
    """
    from engine.core.config_file import check_key

    check_key(key)
    setting = open_session(create=False).models.setting(key)
    if json:
        out.json_document(_describe(setting))
        return
    out.text(_text(setting.value))
    out.detail(f"{key}: {setting.origin.text}")


@app.command("set")
def set_value(
    key: Key, value: Annotated[str, typer.Argument(help="Its value, as the option of the same name takes it.")]
) -> None:
    """Set a default in config.toml. Comments in the file stay.

    Example: myvlm config set sidecar-naming stem
    """
    from engine.core.config_file import config_path
    from engine.core.paths import home
    from engine.defaults import set_default

    setting = set_default(home(), key, value)
    out.say(f"{key} is {_text(setting.value)} from now on ({path_text(config_path(home()))})")
    if key == "vlm":
        _warn_of_missing_weights()
    out.say("Next: myvlm config lists all defaults")


def _warn_of_missing_weights() -> None:
    """Say how to get the VLM that `config.toml` names, if it is not on this disk."""
    from engine.core.errors import EngineError

    models = open_session(create=False).models
    try:
        if models.has_vlm:
            models.check_weights()
    except EngineError as err:
        out.warn(f"{err}. {err.hint}")


@app.command("unset")
def unset(key: Key) -> None:
    """Remove a default from config.toml, so that myvlm chooses again.

    Example: myvlm config unset vlm
    """
    from engine.core.config_file import config_path, remove_value
    from engine.core.paths import home

    path = path_text(config_path(home()))
    out.say(f"{key} is no longer set in {path}" if remove_value(home(), key) else f"{key} was not set in {path}")
    out.say("Next: myvlm config lists all defaults")
