"""Before any photo is read: is the server there, does it have the model, does it run it itself, can it see?"""

from dataclasses import replace

import pytest

from engine.core.errors import EnvironmentFault, UsageError
from engine.vlms.config import VlmConfig
from engine.vlms.find import find_config
from engine.vlms.registry import check_vlm, connect_vlm, find_weights
from engine.vlms.server import client
from engine.vlms.server.served import find_ollama, is_cloud_name
from tests.vlms.server.api_server import MODEL, Answer, ApiServer, error

SEES = Answer({"capabilities": ["completion", "vision"], "details": {"family": "qwen3vl"}})
CLOUD = Answer({"capabilities": ["vision"], "remote_host": "https://ollama.com:443", "remote_model": "qwen3-vl:235b"})


def config(server: ApiServer, model: str = MODEL, *, remote: bool = False) -> VlmConfig:
    found = find_config(f"openai:{server.base}#{model}")
    return replace(found, server=replace(found.server, allow_remote=remote))


def paths(server: ApiServer) -> list[str]:
    return [r.path for r in server.received]


def test_a_server_of_no_known_kind(server):
    check_vlm(config(server))
    assert paths(server) == ["/v1/models", "/api/version"]
    assert find_weights(config(server)) is None


def test_a_model_that_is_not_there_is_an_error_with_those_that_are(server):
    with pytest.raises(EnvironmentFault, match="has no model 'ears:4b'") as caught:
        check_vlm(config(server, "ears:4b"))
    assert f"Its models: {MODEL}, words:1b." in caught.value.hint
    assert "pull" not in caught.value.hint


def test_ollama_names_the_command_that_gets_a_model(server):
    server.shows = {}
    server.listed = Answer({"object": "list", "data": None})  # what Ollama sends where there is none
    with pytest.raises(EnvironmentFault) as caught:
        check_vlm(config(server, "ears:4b"))
    assert caught.value.hint == "Its models: none.   Get it: ollama pull ears:4b"


@pytest.mark.parametrize("owner", ["llamacpp", "vllm"])
def test_a_namespace_does_not_hide_that_a_cloud_runs_the_model(server, owner):
    server.shows = {"mine": CLOUD}
    listed = [{"id": f"{owner}/x", "owned_by": owner}, {"id": "mine", "owned_by": "library"}]
    server.listed = Answer({"object": "list", "data": listed})
    with pytest.raises(UsageError, match="cloud model"):
        check_vlm(config(server, "mine"))


def test_ollama_is_asked_where_it_lists_no_models(server):
    server.shows = {"mine": CLOUD}
    server.listed = error(404, "not found")
    with pytest.raises(UsageError, match="cloud model"):
        check_vlm(config(server, "mine"))


def test_the_tag_latest_may_be_left_out(server):
    server.listed = Answer({"object": "list", "data": [{"id": "eyes:latest"}]})
    check_vlm(config(server, "eyes"))


def test_a_server_that_lists_no_models_is_taken_at_its_word(server):
    server.listed = error(404, "not found")
    connect_vlm(config(server, "anything"))


@pytest.mark.parametrize(
    "listed", [Answer("<html>hello</html>"), Answer({"hello": 1}), Answer([]), error(400, "bad"), Answer({"data": "?"})]
)
def test_what_is_no_such_server_is_told(server, listed):
    server.listed = listed
    with pytest.raises(EnvironmentFault, match="does not speak OpenAI's API") as caught:
        check_vlm(config(server))
    assert "/v1" in caught.value.hint


def test_a_server_that_loads_is_waited_for(server):
    replies = [error(503, "Loading model"), server.listed]
    plain = server.answer
    server.answer = lambda request: replies.pop(0) if replies and request.path == "/v1/models" else plain(request)
    check_vlm(config(server))
    assert not replies


def test_silence_is_told(server, monkeypatch):
    monkeypatch.setattr(client, "FACT_SECONDS", 0.2)
    server.listed = Answer({}, seconds=30.0)
    with pytest.raises(EnvironmentFault, match=r"silent for 0\.2 s"):
        check_vlm(config(server))


def test_ollama_is_asked_whether_the_model_sees(server):
    server.shows = {MODEL: SEES, "words:1b": Answer({"capabilities": ["completion"]})}
    vlm = connect_vlm(config(server))
    assert paths(server) == ["/v1/models", "/api/version", "/api/show"]
    with pytest.raises(EnvironmentFault, match="cannot see pictures"):
        check_vlm(config(server, "words:1b"))
    assert vlm._program == "ollama"


def test_llama_cpp_tells_whether_the_model_sees(server):
    entries = [{"name": "blind", "capabilities": ["completion"]}, {"name": "sees", "capabilities": ["multimodal"]}]
    data = [{"id": e["name"], "owned_by": "llamacpp"} for e in entries]
    server.listed = Answer({"models": entries, "object": "list", "data": data})
    assert connect_vlm(config(server, "sees"))._program == "llama.cpp"
    assert "/api/show" not in paths(server)
    with pytest.raises(EnvironmentFault, match="cannot see pictures") as caught:
        check_vlm(config(server, "blind"))
    assert "--mmproj" in caught.value.hint


@pytest.mark.parametrize(
    ("program", "owner", "sent"),
    [
        ("ollama", "library", {"reasoning_effort": "none"}),
        ("llama.cpp", "llamacpp", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm", "vllm", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("other", "organization_owner", {}),
    ],
)
def test_each_program_is_told_in_its_own_way_not_to_think(server, program, owner, sent):
    server.listed = Answer({"object": "list", "data": [{"id": MODEL, "owned_by": owner}]})
    server.shows = {MODEL: SEES} if program == "ollama" else None
    server.chat = lambda request: Answer({"choices": [{"message": {"content": "A dog."}, "finish_reason": "stop"}]})
    connect_vlm(config(server)).generate(["data:image/jpeg;base64,"], ["?"])
    extra = {k: v for k, v in server.chats[0].body.items() if k in ("reasoning_effort", "chat_template_kwargs")}
    assert extra == sent


@pytest.mark.parametrize(
    ("name", "cloud"),
    [
        ("gpt-oss:120b-cloud", True),
        ("qwen3-vl:cloud", True),
        ("Qwen3-VL:235B-Cloud", True),
        ("some-cloud", True),
        ("some-cloud:latest", True),
        ("qwen3-vl:4b", False),
        ("cloudy:4b", False),
        ("cloud-watcher:7b", False),
    ],
)
def test_the_names_of_cloud_models(name, cloud):
    assert is_cloud_name(name) is cloud


@pytest.mark.parametrize("model", ["qwen3-vl:235b-cloud", "qwen3-vl:cloud"])
def test_a_cloud_model_is_refused_before_anything_is_sent(server, model):
    with pytest.raises(UsageError, match="is a cloud model") as caught:
        check_vlm(config(server, model))
    assert "--allow-remote" in caught.value.hint
    assert server.received == []


def test_a_cloud_model_under_another_name_is_refused_before_a_photo_is_sent(server):
    server.shows = {MODEL: CLOUD}
    with pytest.raises(UsageError, match=r"is a cloud model \(it is run by https://ollama.com:443\)"):
        connect_vlm(config(server))
    assert server.chats == []


def test_ollama_that_does_not_tell_is_refused(server):
    server.shows = {MODEL: error(404, "unknown command")}
    with pytest.raises(EnvironmentFault, match="does not tell whether it runs"):
        connect_vlm(config(server))


def test_with_allow_remote_a_cloud_model_is_used(server):
    server.shows = {MODEL: CLOUD, "other:cloud": error(404, "?")}
    server.listed = Answer({"object": "list", "data": [{"id": MODEL}, {"id": "other:cloud"}]})
    connect_vlm(config(server, remote=True))
    connect_vlm(config(server, "other:cloud", remote=True))


def test_a_redirected_check_is_refused(server):
    with ApiServer() as elsewhere:
        server.listed = Answer("", 307, {"Location": f"{elsewhere.base}/models"})
        with pytest.raises(EnvironmentFault, match="not followed"):
            check_vlm(config(server))
        assert elsewhere.received == []


def test_a_running_ollama_is_found_with_the_models_that_see_and_stay_here(server, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    assert find_ollama() is None, "this server is not Ollama"
    names = [MODEL, "words:1b", "alias", "big:cloud"]
    server.listed = Answer({"object": "list", "data": [{"id": n} for n in names]})
    server.shows = {
        MODEL: SEES,
        "words:1b": Answer({"capabilities": ["completion"]}),
        "alias": CLOUD,
        "big:cloud": CLOUD,
    }
    found = find_ollama()
    assert found is not None and found.models == (MODEL,)


@pytest.mark.parametrize("host", ["127.0.0.1:9", "192.0.2.7", "http://bad:port"])
def test_no_ollama_is_no_error(monkeypatch, host):
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert find_ollama() is None
