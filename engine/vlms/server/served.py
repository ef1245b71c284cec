"""Check before any photo is read that a server is there, has the model, runs it itself, and that it sees pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from engine.core.errors import EngineError, EnvironmentFault, UsageError
from engine.vlms.server.address import PREFIX, ServerAddress, ollama_base
from engine.vlms.server.client import SEEING, Client

Program = Literal["ollama", "llama.cpp", "vllm", "other"]
"""The program that serves, as far as that matters."""
_OWNERS: Mapping[str, Program] = {"llamacpp": "llama.cpp", "vllm": "vllm"}
"""What stands as `owned_by` in a list of models, by which these programs are known."""
_LISTED = 20


@dataclass(frozen=True)
class Served:
    """What a server tells about itself.

    models: their names; None where it does not list them. blind: those that are known not to see pictures.
    """

    program: Program
    models: tuple[str, ...] | None
    blind: frozenset[str] = frozenset()


def check_server(client: Client) -> Program:
    """Check that a server can describe photos with the chosen model on its own machine; returns which program it is.

    Raises:
        UsageError: the model is run in a cloud, and photos may not leave this machine.
        EnvironmentFault: the server is not there, does not have the model, or the model cannot see pictures.
    """
    server = client.server
    if not server.allow_remote and is_cloud_name(server.model):
        raise _in_cloud(server, "its name says so")
    served = read_served(client)
    name = _find(server.model, served.models)
    if name is None:
        has = ", ".join((served.models or ())[:_LISTED]) or "none"
        more = f"   Get it: ollama pull {server.model}" if served.program == "ollama" else ""
        raise EnvironmentFault(
            f"the server at {server.base} has no model {server.model!r}", hint=f"Its models: {has}.{more}"
        )
    if served.program == "ollama":
        _check_ollama(client)
    if name in served.blind:
        raise EnvironmentFault(f"{server.model} at {server.base} cannot see pictures", hint=SEEING)
    return served.program


def read_served(client: Client) -> Served:
    """Read which models a server has.

    Raises:
        EnvironmentFault: the server is not there, or does not speak this API.
    """
    base = client.server.base
    status, listed = client.fact(f"{client.server.path}/models")
    if status in (404, 405, 501):  # a list of models is not part of every server
        return Served(_ollama(client), None)
    entries = listed.get("data", "") if isinstance(listed, dict) else ""
    if status != 200 or not isinstance(listed, dict) or not isinstance(entries, list | None):  # Ollama may list `null`
        raise EnvironmentFault(
            f"what answers at {base} does not speak OpenAI's API (HTTP {status})",
            hint="The address of such a server ends with /v1, as in http://127.0.0.1:11434/v1.",
        )
    facts = [e for e in entries or () if isinstance(e, dict) and isinstance(e.get("id"), str)]
    program = _ollama(client)  # asked first: what Ollama gives as owner is a namespace that anybody can choose
    if program == "other":
        program = next((_OWNERS[o] for e in facts if (o := str(e.get("owned_by"))) in _OWNERS), program)
    return Served(program, tuple(e["id"] for e in facts), _blind(listed))


def _ollama(client: Client) -> Program:
    """Return whether Ollama's own API answers beside OpenAI's."""
    status, document = client.fact(f"{client.server.root}/api/version")
    return "ollama" if status == 200 and isinstance(document, dict) and "version" in document else "other"


def _blind(listed: Mapping[str, Any]) -> frozenset[str]:
    """Return the models of llama.cpp's server that have no vision part."""
    entries = listed.get("models")
    named = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    capable = {str(e.get("name")): e.get("capabilities") for e in named}
    return frozenset(n for n, c in capable.items() if isinstance(c, list) and c and "multimodal" not in c)


def _check_ollama(client: Client) -> None:
    """Check with Ollama's own API that it runs a model itself, and that the model sees pictures.

    A cloud model can be stored under any name, so what decides is `remote_host`, not the name.

    Raises:
        UsageError: a cloud runs it, and photos may not leave this machine.
        EnvironmentFault: Ollama does not tell, or the model cannot see pictures.
    """
    server = client.server
    status, facts = client.fact(f"{server.root}/api/show", {"model": server.model})
    if status != 200 or not isinstance(facts, dict):
        if server.allow_remote:
            return
        raise EnvironmentFault(
            f"Ollama at {server.base} does not tell whether it runs {server.model} itself (HTTP {status})",
            hint="Update Ollama.",
        )
    remote = facts.get("remote_host") or facts.get("remote_model")
    if remote and not server.allow_remote:
        raise _in_cloud(server, f"it is run by {remote}")
    able = facts.get("capabilities")
    if isinstance(able, list) and able and "vision" not in able:
        raise EnvironmentFault(f"{server.model} at {server.base} cannot see pictures", hint=SEEING)


def _in_cloud(server: ServerAddress, why: str) -> UsageError:
    return UsageError(
        f"{server.model} is a cloud model ({why}), and photos would be sent there",
        hint="Choose a model that runs on this machine, or allow it with --allow-remote.",
    )


def is_cloud_name(model: str) -> bool:
    """Return whether a name is one of Ollama's cloud models: `gpt-oss:120b-cloud`, `qwen3-vl:cloud`."""
    name, _, tag = model.lower().rpartition(":")
    return tag == "cloud" or tag.endswith("-cloud") or name.endswith("-cloud")


def _find(model: str, models: tuple[str, ...] | None) -> str | None:
    """Return the name under which a server lists a model; Ollama's tag `latest` may be left out."""
    if models is None:
        return model
    return next((m for m in models if m in (model, f"{model}:latest")), None)


def find_ollama() -> Served | None:
    """Return what Ollama on this machine serves that can be used without leaving it; None where it does not run."""
    try:
        client = Client(ServerAddress(ollama_base(), ""))
        served = read_served(client)
        if served.program != "ollama":
            return None
        usable = tuple(m for m in served.models or () if _is_usable(client, m))
    except (EngineError, ValueError):
        return None
    return replace(served, models=usable)


def _is_usable(client: Client, model: str) -> bool:
    """Return whether Ollama runs a model itself, and the model sees pictures."""
    status, facts = client.fact(f"{client.server.root}/api/show", {"model": model})
    if status != 200 or not isinstance(facts, dict) or is_cloud_name(model):
        return False
    remote = facts.get("remote_host") or facts.get("remote_model")
    return not remote and "vision" in (facts.get("capabilities") or ())


def name_of(model: str) -> str:
    """Return how a model of Ollama on this machine is named as `--vlm`."""
    return f"{PREFIX}#{model}"
