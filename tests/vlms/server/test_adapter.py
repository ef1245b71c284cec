"""A VLM in a server: what is sent, what is made of the reply, and what happens where something goes wrong."""

import socket
import threading
import time
from dataclasses import replace

import pytest
from PIL import Image

from engine.core.errors import EnvironmentFault, PhotoError, UsageError
from engine.vlms import captions, generate
from engine.vlms.find import find_config
from engine.vlms.registry import connect_vlm
from engine.vlms.server import client
from tests.vlms.server.api_server import (
    COLOURS,
    MODEL,
    Answer,
    ApiServer,
    completion,
    describe,
    error,
    free_port,
    wait_for,
)


def picture(colour: str, width: int = 64, height: int = 48) -> Image.Image:
    return Image.new("RGB", (width, height), COLOURS[colour])


REQUEST = "Describe this photo in one or two sentences. Do not give any person or animal a name."


@pytest.fixture
def vlm(server):
    return connect_vlm(find_config(server.vlm))


def say(vlm, *colours: str, request: str = "Describe it.") -> list[str]:
    rows = vlm.inject(vlm.encode(vlm.preprocess([picture(c) for c in colours])), [])
    return [g.text for g in vlm.generate(rows, [vlm.encode_prompt(request)] * len(rows))]


def test_the_server_gets_the_picture_and_the_request(vlm, server):
    assert say(vlm, "red", request="Recognised: Rex.") == ["A 64 x 48 red picture. Asked: Recognised: Rex."]
    (request,) = server.chats
    assert request.body | {"messages": ...} == {
        "model": MODEL,
        "messages": ...,
        "max_tokens": 96,
        "temperature": 0,
        "seed": 0,
        "stream": False,
    }
    assert "authorization" not in request.headers


def test_a_batch_keeps_its_order_and_is_asked_at_the_same_time(vlm, server):
    colours = ["red", "green", "blue", "grey", "red", "blue"]
    together = threading.Barrier(2, timeout=10)

    def chat(request):
        together.wait()  # breaks unless two requests are under way together
        text = describe(request)
        return Answer(completion(text), seconds=0.1 if "red" in text else 0.0)

    server.chat = chat
    assert [text.split()[4] for text in say(vlm, *colours)] == colours
    assert max(r.running for r in server.chats) == 2


@pytest.mark.parametrize(("size", "sent"), [((4000, 3000), (1182, 886)), ((640, 480), (640, 480)), ((9000, 30), None)])
def test_a_photo_is_sent_with_a_megapixel_at_most(vlm, server, size, sent):
    vlm.generate(vlm.inject(vlm.preprocess([picture("blue", *size)]), []), ["?"])
    image = server.chats[0].image
    assert image.size == (sent or size)
    assert image.width * image.height <= 1_048_576
    view = vlm.view(picture("blue", *size))
    assert (view.x1, view.y1) == size


def test_features_of_some_photos_can_be_taken(vlm):
    features = vlm.encode(vlm.preprocess([picture(c) for c in COLOURS])).select([2, 0])
    texts = [g.text for g in vlm.generate(vlm.inject(features, []), ["?", "?"])]
    assert [t.split()[4] for t in texts] == ["blue", "red"]


def test_captions_come_through_the_same_door_as_those_of_other_vlms(vlm):
    said = captions.caption(vlm, [picture("red"), picture("blue")], [[], []])
    assert [c.text for c in said] == [f"A 64 x 48 {colour} picture. Asked: {REQUEST}" for colour in ("red", "blue")]
    assert generate.ask_plain(vlm, [picture("green")], [["Who?", "Where?"]]) == [
        ["A 64 x 48 green picture. Asked: Who?", "A 64 x 48 green picture. Asked: Where?"]
    ]


def test_the_token_limit_is_passed_on_and_noticed(vlm, server):
    server.chat = lambda request: Answer(completion("One. Two thr", "length"))
    (generation,) = vlm.generate(vlm.inject(vlm.preprocess([picture("red")]), []), ["?"], 7)
    assert (generation.text, generation.capped) == ("One. Two thr", True)
    assert server.chats[0].body["max_tokens"] == 7


@pytest.mark.parametrize(
    "text",
    [
        "<think>Is it Rex?\nMaybe.</think>\n\nA dog.",
        "Is it Rex? Maybe.</think>A dog.",
        "A dog.",
        [{"type": "text", "text": "A d"}, {"type": "text", "text": "og."}],
    ],
)
def test_thoughts_are_left_out(vlm, server, text):
    server.chat = lambda request: Answer(completion(text))
    assert say(vlm, "red") == ["A dog."]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (completion("<think>Let me see, the", "length"), "token limit"),
        (completion("", "length", reasoning_content="Let me see"), "token limit"),
        (completion(" \n"), "said nothing"),
        (completion(None), "said nothing"),
        (completion(None, refusal="I cannot help with that."), "refused to answer: I cannot"),
        (completion("A", "content_filter"), "refused"),
        ({"choices": []}, "holds no answer"),
        ({"choices": "?"}, "holds no answer"),
        ({"unexpected": 1}, "holds no answer"),
        ([1, 2], "no JSON document"),
        ("<html>gateway</html>", "no JSON document"),
        ("[" * 100_000, "no JSON document"),
    ],
)
def test_a_reply_without_a_text_is_a_failed_photo(vlm, server, document, reason):
    server.chat = lambda request: Answer(document)
    with pytest.raises(PhotoError, match=reason):
        say(vlm, "red")


@pytest.mark.parametrize("fault", [error(429, "slow"), error(500, "oops"), error(503, "loading"), Answer(close=True)])
def test_a_busy_or_broken_server_is_asked_again(vlm, server, fault):
    server.faults.extend([fault] * 3)
    assert say(vlm, "blue") == ["A 64 x 48 blue picture. Asked: Describe it."]
    assert len(server.chats) == 4


@pytest.mark.parametrize(
    ("fault", "reason"), [(error(500, "out of luck"), "out of luck"), (Answer(close=True), "broke")]
)
def test_after_five_tries_the_photo_has_failed(vlm, server, fault, reason):
    server.faults.extend([fault] * 20)
    with pytest.raises(PhotoError, match=reason):
        say(vlm, "blue")
    assert len(server.chats) == 5


def test_pauses_grow_and_retry_after_is_kept_within_bounds(vlm, server, monkeypatch):
    pauses = []
    monkeypatch.setattr(client, "WAITS", (1.0, 2.0, 4.0, 8.0))
    monkeypatch.setattr(vlm._client._connections.stopped, "wait", pauses.append)
    later = error(429, "slow", Retry_After="3")
    endless = error(429, "slow", Retry_After="86400")
    odd = error(503, "slow", Retry_After="soon")
    server.faults.extend([error(500, "oops"), later, endless, odd])
    assert say(vlm, "blue")
    assert pauses == [1.0, 3.0, 60.0, 8.0]


def test_retry_after_may_be_a_date(vlm, server, monkeypatch):
    pauses = []
    monkeypatch.setattr(vlm._client._connections.stopped, "wait", pauses.append)
    server.faults.append(error(429, "slow", Retry_After="Fri, 01 Jan 2100 00:00:00 GMT"))
    server.faults.append(error(429, "slow", Retry_After="Fri, 01 Jan 2010 00:00:00 GMT"))
    assert say(vlm, "blue")
    assert pauses == [60.0, 0.0]


def test_a_silent_server_is_not_asked_again(vlm, server, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)
    server.faults.append(Answer(completion("late"), seconds=30.0))
    with pytest.raises(PhotoError, match=r"no answer within 0\.2 s"):
        say(vlm, "red")
    assert len(server.chats) == 1


def test_a_bad_request_is_a_failed_photo_and_not_repeated(vlm, server):
    server.faults.append(error(400, "the request exceeds the available context size"))
    with pytest.raises(PhotoError, match=r"context size \(HTTP 400\); give the server a longer context"):
        say(vlm, "red")
    assert len(server.chats) == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (400, "words:1b is not a multimodal model"),
        (400, "Model does not support images. Please use a model that does."),
        (500, "this model is missing data required for image input"),
    ],
)
def test_a_model_without_eyes_ends_the_run(vlm, server, status, text):
    server.faults.append(error(status, text))
    with pytest.raises(EnvironmentFault, match="cannot see pictures"):
        say(vlm, "red")
    assert len(server.chats) == 1


def test_a_lost_model_ends_the_run(vlm, server):
    server.faults.append(error(404, "model not found"))
    with pytest.raises(EnvironmentFault, match="does not serve eyes:4b: model not found"):
        say(vlm, "red")


def test_a_lost_server_ends_the_run_and_stops_the_others(server):
    config = find_config(server.vlm)
    vlm = connect_vlm(replace(config, server=replace(config.server, parallel=2)))
    server.chat = lambda request: Answer(completion("late"), seconds=30.0)
    server.faults.append(error(404, "model not found", Retry_After="0"))
    began = time.monotonic()
    with pytest.raises(EnvironmentFault):
        say(vlm, "red", "green", "blue", "grey")
    assert time.monotonic() - began < 10, "the request that hangs was not broken off"
    assert len(server.chats) < 4


def test_a_key_comes_from_the_environment_and_is_never_repeated(vlm, server, monkeypatch):
    monkeypatch.setenv("MYVLM_API_KEY", "sk-secret")
    say(vlm, "red")
    assert server.chats[0].headers["authorization"] == "Bearer sk-secret"
    server.faults.append(error(401, "wrong key: sk-secret"))
    with pytest.raises(EnvironmentFault, match="wrong key: …") as caught:
        say(vlm, "red")
    assert "sk-secret" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert "MYVLM_API_KEY" in caught.value.hint


@pytest.mark.parametrize("key", ["sk-secret\nX-Other: 1", "schlüssel"])
def test_a_malformed_key_is_refused(vlm, server, monkeypatch, key):
    monkeypatch.setenv("MYVLM_API_KEY", key)
    with pytest.raises(UsageError) as caught:
        say(vlm, "red")
    assert key not in str(caught.value) and server.chats == []


def test_a_redirect_is_not_followed(vlm, server):
    with ApiServer() as elsewhere:
        target = f"http://127.0.0.1:{elsewhere.port}/v1/chat/completions"
        for status in (301, 302, 303, 307, 308):
            server.faults.append(Answer("", status, {"Location": target}))
            with pytest.raises(EnvironmentFault, match="not followed"):
                say(vlm, "red")
        assert elsewhere.received == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_proxies_are_ignored(server, monkeypatch, name):
    with ApiServer() as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert say(connect_vlm(find_config(server.vlm)), "red")
        assert proxy.received == []


def test_what_needs_the_weights_is_refused_with_a_way_out(vlm):
    photos = vlm.preprocess([picture("red")])
    refused = [
        lambda: vlm.inject(photos, [[[0.0, 1.0]]]),
        lambda: vlm.encode_example("a", "b"),
        lambda: vlm.loss([], [], [], []),
        lambda: vlm.concept_attention([], [], []),
        lambda: vlm.device,
        lambda: photos.dtype,
    ]
    for call in refused:
        with pytest.raises(UsageError) as caught:
            call()
        assert "--vlm NAME" in caught.value.hint


def test_an_error_text_is_one_printable_line(vlm, server):
    server.faults.append(error(400, "bad\x1b[31m\n" + "x" * 1000))
    with pytest.raises(PhotoError) as caught:
        say(vlm, "red")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_nothing_is_there(monkeypatch):
    port = free_port()
    with pytest.raises(EnvironmentFault, match=f"no server answers at http://127.0.0.1:{port}/v1") as caught:
        connect_vlm(find_config(f"openai:http://127.0.0.1:{port}#m"))
    assert "correct the address" in caught.value.hint
    monkeypatch.setattr(socket, "create_connection", lambda *_: (_ for _ in ()).throw(ConnectionRefusedError()))
    with pytest.raises(EnvironmentFault) as caught:
        connect_vlm(find_config("openai:#m"))
    assert caught.value.hint == "Start it: ollama serve"


def test_stopping_ends_a_request_that_waits(vlm, server):
    server.faults.append(Answer(completion("late"), seconds=30.0))
    ended = []

    def ask():
        try:
            say(vlm, "red")
        except PhotoError as err:
            ended.append(err)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: bool(server.chats))
    vlm.stop()
    thread.join(5)
    assert ended and not thread.is_alive()
