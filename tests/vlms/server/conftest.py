import pytest

from tests.vlms.server.api_server import ApiServer


@pytest.fixture
def server():
    with ApiServer() as running:
        yield running


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    """Tries follow at once, unless a test says otherwise; nothing of this machine's environment is used."""
    monkeypatch.setattr("engine.vlms.server.client.WAITS", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.delenv("MYVLM_API_KEY", raising=False)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
