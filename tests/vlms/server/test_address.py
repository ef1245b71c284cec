"""Where a VLM is served: how `openai:URL#MODEL` is read, and which addresses are refused before anything is sent."""

import socket

import pytest

from engine.core.errors import EnvironmentFault, UsageError
from engine.vlms.find import find_config
from engine.vlms.server.address import ServerAddress, parse_address
from engine.vlms.server.connection import Connections, is_loopback
from tests.vlms.server.api_server import ApiServer


@pytest.mark.parametrize(
    ("vlm", "base", "model"),
    [
        ("openai:http://127.0.0.1:11434/v1#qwen3-vl:4b", "http://127.0.0.1:11434/v1", "qwen3-vl:4b"),
        ("openai:#qwen3-vl:4b", "http://127.0.0.1:11434/v1", "qwen3-vl:4b"),
        ("openai:http://localhost:8000#Qwen/Qwen3-VL-4B", "http://localhost:8000/v1", "Qwen/Qwen3-VL-4B"),
        ("openai:http://LOCALHOST:1234/v1/#a+b", "http://localhost:1234/v1", "a+b"),
        ("openai:https://[::1]:8443/api/v1#m", "https://[::1]:8443/api/v1", "m"),
        ("openai:http://127.0.0.1#m", "http://127.0.0.1/v1", "m"),
    ],
)
def test_an_address_is_read(vlm, base, model):
    address = parse_address(vlm)
    assert (address.base, address.model) == (base, model)
    assert parse_address(address.id) == address


@pytest.mark.parametrize(
    ("vlm", "reason"),
    [
        ("openai:", "names no model"),
        ("openai:http://127.0.0.1:11434/v1", "names no model"),
        ("openai:http://127.0.0.1:11434/v1#a\nb", "names no model"),
        ("openai:127.0.0.1:11434#m", "http://"),
        ("openai:file:///etc/passwd#m", "http://"),
        ("openai:http://127.0.0.1:port/v1#m", "no address"),
        ("openai:http://127.0.0.1:99999/v1#m", "no address"),
        ("openai:http:///v1#m", "no host"),
        ("openai:http://127.0.0.1/v1?key=x#m", "query"),
        ("openai:http://127.0.0.1/v 1#m", "escaped"),
        ("openai:http://me:secret@127.0.0.1/v1#m", "password"),
    ],
)
def test_a_malformed_address_is_refused(vlm, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        parse_address(vlm)
    assert caught.value.hint


def test_a_password_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        parse_address("openai:http://me:secret@127.0.0.1/v1#m")
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        (":8080", "http://127.0.0.1:8080/v1"),
        ("127.0.0.1:9999", "http://127.0.0.1:9999/v1"),
        ("https://gpu.example:8443", "https://gpu.example:8443/v1"),
    ],
)
def test_the_default_is_where_ollama_says_it_is(monkeypatch, host, base):
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert parse_address("openai:#m").base == base


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("192.168.1.5", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("2001:db8::1", False),
    ],
)
def test_only_loopback_is_this_machine(address, here):
    assert is_loopback(address) is here


@pytest.mark.parametrize("host", ["192.0.2.7", "0.0.0.0", "[2001:db8::7]"])
def test_another_machine_is_refused_before_a_connection(monkeypatch, host):
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("a connection was made"))
    with pytest.raises(UsageError, match="not on this machine") as caught:
        Connections(parse_address(f"openai:http://{host}:11434/v1#m"))
    assert "--allow-remote" in caught.value.hint


def test_a_name_is_refused_if_one_of_its_addresses_is_elsewhere(monkeypatch):
    found = [(socket.AF_INET, 0, 0, "", ("127.0.0.1", 80)), (socket.AF_INET, 0, 0, "", ("192.0.2.7", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UsageError, match="not on this machine"):
        Connections(parse_address("openai:http://trap.example/v1#m"))


def test_the_checked_address_is_used_and_the_name_not_asked_again(monkeypatch, server):
    answers = [[(socket.AF_INET, 0, 0, "", ("127.0.0.1", server.port))]]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop())
    connections = Connections(ServerAddress(f"http://name.example:{server.port}/v1", "m"))
    monkeypatch.undo()  # create_connection resolves the address "127.0.0.1" itself
    assert connections.exchange("GET", "/v1/models", None, 5.0).status == 200
    assert server.received[0].headers["host"] == f"name.example:{server.port}"


def test_an_unknown_name_is_told():
    with pytest.raises(EnvironmentFault, match=r"no machine called nowhere\.invalid"):
        Connections(parse_address("openai:http://nowhere.invalid/v1#m"))


def test_ipv6_works():
    try:
        running = ApiServer("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running:
        assert Connections(parse_address(running.vlm)).exchange("GET", "/v1/models", None, 5.0).status == 200


def test_localhost_is_tried_at_all_its_addresses(server):
    """Ollama listens on 127.0.0.1 alone, and `localhost` may be ::1 first."""
    connections = Connections(parse_address(f"openai:http://localhost:{server.port}/v1#m"))
    assert connections.exchange("GET", "/v1/models", None, 5.0).status == 200


def test_the_config_of_a_server():
    config = find_config("openai:http://127.0.0.1:8080/v1#Qwen3-VL-4B+Q4")
    assert config.name == config.repo_id == "openai:http://127.0.0.1:8080/v1#Qwen3-VL-4B+Q4"
    assert (config.backend, config.revision, config.variant) == ("openai", "", "")
    assert config.chat.boxes == "xyxy-1000" and "refer" in config.requests
    other = find_config("openai:#gemma3:4b")
    assert other.chat.boxes == "none" and "refer" not in other.requests
