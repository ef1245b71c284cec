"""The server of pages: who may use it, what it refuses, and when it ends."""

import http.client
import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from engine.core.errors import StoreError, UsageError
from engine.pages.http import LARGEST_REQUEST
from engine.pages.server import Ending, PageServer
from engine.pages.thumbnails import Made


class Counter:
    """A page with a number that an action raises, and two pictures, one of which cannot be made."""

    def __init__(self) -> None:
        self.number = 0

    def html(self, token):
        return f"<!doctype html>{token}"

    def picture(self, number):
        return [Made(b"\xff\xd8jpeg"), Made(reason="The photo is not there any more.")][number]

    def state(self):
        return {"version": self.number}

    def act(self, request):
        if request.get("do") == "refuse":
            raise UsageError("no such action")
        if request.get("do") == "fail":
            raise StoreError("the disk is full", hint="Make room.")
        if request.get("do") == "break":
            raise ZeroDivisionError("a fault of ours")
        self.number += 1
        return self.state()


class Browser:
    """Sends requests as a browser does that was given the address; each of its parts can be changed or left out."""

    def __init__(self, server: PageServer) -> None:
        self.server, self.access = server, server.access
        self.place = f"/{self.access.place}/"
        self.cookie = f"other=1; {self.access.cookie_name}={self.access.cookie}; broken"

    def ask(self, method, path, body=None, **headers):
        """Return status, headers and body; a header that is None is left out."""
        sent = {"Host": f"127.0.0.1:{self.server.port}", "Cookie": self.cookie}
        if method == "POST":
            sent |= {
                "Origin": f"http://127.0.0.1:{self.server.port}",
                "X-Myvlm-Token": self.access.token,
                "Content-Type": "application/json",
            }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None:
                sent.setdefault("Content-Length", str(len(body)))
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def act(self, do="raise", **headers):
        return self.ask("POST", f"{self.place}act", json.dumps({"do": do}).encode(), **headers)


@pytest.fixture
def page():
    return Counter()


@pytest.fixture
def server(page):
    server = PageServer(page)
    ended: list[Ending] = []
    thread = threading.Thread(target=lambda: ended.append(server.serve()))
    thread.start()
    yield server
    server.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert ended
    assert server.faults == []


@pytest.fixture
def browser(server):
    return Browser(server)


def test_the_address_gives_a_cookie_and_the_page(browser, server):
    key = server.address.partition("/?")[2]
    status, headers, _ = browser.ask("GET", f"/?{key}", Cookie=None)
    assert (status, headers["Location"]) == (303, browser.place)
    cookie, *attributes = (part.strip() for part in headers["Set-Cookie"].split(";"))
    assert attributes == [f"Path={browser.place}", "HttpOnly", "SameSite=Strict"]
    status, headers, body = browser.ask("GET", browser.place, Cookie=cookie)
    assert (status, body) == (200, f"<!doctype html>{browser.access.token}".encode())
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name in headers if name.lower().startswith("access-control-")]
    assert browser.ask("GET", f"/?{key}", Cookie=None)[0] == 303  # the user's address works again


def test_the_address_on_the_command_line_works_once(browser, server):
    key = server.launch_address.partition("/?")[2]
    assert browser.ask("GET", f"/?{key}", Cookie=None)[0] == 303
    assert browser.ask("GET", f"/?{key}", Cookie=None)[0] == 403
    assert browser.ask("GET", "/?key=", Cookie=None)[0] == 403  # what is left of it


def test_the_address_for_a_browser_that_did_not_start_is_worthless(browser, server):
    key = server.launch_address.partition("/?")[2]
    server.drop_launch_address()
    assert browser.ask("GET", f"/?{key}", Cookie=None)[0] == 403
    assert browser.ask("GET", "/?key=", Cookie=None)[0] == 403
    assert browser.ask("GET", f"/?{server.address.partition('/?')[2]}", Cookie=None)[0] == 303


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", "?key=%00", "?wrong=1"])
def test_without_the_key_there_is_no_cookie(browser, query):
    status, headers, _ = browser.ask("GET", f"/{query}", Cookie=None)
    assert status == 403
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("path", ["", "state", "picture/0"])
@pytest.mark.parametrize("cookie", [None, "", "{name}=wrong", "{name}=", "other={value}", "{name}"])
def test_nothing_is_shown_without_the_cookie(browser, path, cookie):
    access = browser.access
    sent = cookie and cookie.format(name=access.cookie_name, value=access.cookie)
    status, _, body = browser.ask("GET", browser.place + path, Cookie=sent)
    assert status == 403
    assert access.token.encode() not in body
    assert browser.ask("GET", browser.place + path)[0] == 200


ELSEWHERE = [
    {"Host": "evil.example"},
    {"Host": "evil.example:{port}"},
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1:1"},
    {"Host": "127.0.0.1:{port}.evil.example"},
    {"Host": ""},
    {"Host": None},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:{port}"},
    {"Origin": "https://127.0.0.1:{port}"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_other_pages_and_other_names_of_this_machine_are_refused(browser, page, headers):
    sent = {name: value and value.format(port=browser.server.port) for name, value in headers.items()}
    assert browser.ask("GET", browser.place, **sent)[0] == 403
    assert browser.act(**sent)[0] == 403
    key = browser.server.address.partition("/?")[2]
    assert browser.ask("GET", f"/?{key}", Cookie=None, **sent)[0] == 403
    assert page.number == 0


def test_the_page_itself_may_act(browser, page):
    status, headers, body = browser.act()
    assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", {"version": 1})
    port = browser.server.port
    local = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}  # through a tunnel
    assert browser.act(**local, Sec_Fetch_Site="same-origin")[0] == 200
    assert page.number == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Cookie": None}, 403),
        ({"Origin": None}, 403),
        ({"X_Myvlm_Token": None}, 403),
        ({"X_Myvlm_Token": "wrong"}, 403),
        ({"X_Myvlm_Token": "\xe9"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": None}, 415),
    ],
)
def test_an_action_needs_cookie_origin_token_and_json(browser, page, headers, status):
    assert browser.act(**headers)[0] == status
    assert page.number == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_is_done_but_by_post(browser, page, method):
    headers = {"Origin": f"http://127.0.0.1:{browser.server.port}", "X_Myvlm_Token": browser.access.token}
    for path in ("act", "done", "leave", 'act?{"do":"raise"}'):
        assert browser.ask(method, browser.place + path, **headers)[0] in (404, 501)
    assert page.number == 0
    assert browser.ask("GET", browser.place)[0] == 200  # the server is still there


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "picture/../../../etc/passwd",
        "picture/%2e%2e/%2e%2e/etc/passwd",
        "picture//etc/passwd",
        "picture/0/",
        "picture/0%00.jpg",
        "picture/-1",
        "picture/2",
        "picture/99999999999999",
        "picture/0x0",
        "style.css",
        "server.py",
    ],
)
def test_there_is_nothing_but_numbered_pictures(browser, path):
    assert browser.ask("GET", browser.place + path)[0] == 404


@pytest.mark.parametrize("target", ["//etc/passwd", "/etc/passwd", "http://127.0.0.1/", "*", "/../", "/%2e%2e/"])
def test_other_targets_are_refused(browser, target):
    assert browser.ask("GET", target)[0] in (400, 403)


def test_pictures_are_shown_or_say_why_not(browser):
    status, headers, body = browser.ask("GET", f"{browser.place}picture/0")
    assert (status, headers["Content-Type"], body) == (200, "image/jpeg", b"\xff\xd8jpeg")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not [name for name in headers if name.lower().startswith("access-control-")]
    assert browser.ask("GET", f"{browser.place}picture/1")[::2] == (404, b"The photo is not there any more.")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content_Length": str(LARGEST_REQUEST + 1)}, b"", 413),
        ({"Content_Length": "999999999999999999"}, b"", 411),
        ({"Content_Length": "-1"}, b"", 411),
        ({"Content_Length": "1e3"}, b"", 411),
        ({"Content_Length": None}, b"", 411),
        ({"Content_Length": None, "Transfer_Encoding": "chunked"}, b"", 411),
        ({}, b"", 400),
        ({}, b"no json", 400),
        ({}, b"[1]", 400),
        ({}, b"[" * 100_000, 400),
        ({}, b"\xff\xfe", 400),
    ],
)
def test_actions_have_a_bounded_size_and_are_json(browser, page, headers, body, status):
    assert browser.ask("POST", f"{browser.place}act", body, **headers)[0] == status
    assert page.number == 0
    assert browser.act()[0] == 200


def test_a_request_that_reads_has_no_body(browser):
    assert browser.ask("GET", browser.place, b"x" * 10)[0] == 413


@pytest.mark.parametrize(
    ("do", "status", "told"),
    [("refuse", 400, "no such action"), ("fail", 500, "the disk is full. Make room.")],
)
def test_what_fails_is_told(browser, do, status, told):
    answer = browser.act(do)
    assert (answer[0], json.loads(answer[2])) == (status, {"error": told})


def test_several_actions_are_carried_out_in_their_order(browser, page):
    def act(value):
        status, _, body = browser.ask("POST", f"{browser.place}act", json.dumps({"acts": value}).encode())
        return status, json.loads(body)

    status, answer = act([{"do": "raise"}, {"do": "fail"}, {"do": "raise"}, {"acts": []}])
    assert status == 200
    assert answer == {
        "answers": [{"version": 1}, {"error": "the disk is full. Make room."}, {"version": 2}, {"version": 3}]
    }
    assert act("raise")[0] == act([3])[0] == 400
    assert page.number == 3


def test_an_unexpected_fault_is_told_and_kept(browser, server):
    status, _, body = browser.act("break")
    assert (status, json.loads(body)["error"]) == (500, "This failed unexpectedly: a fault of ours")
    assert [type(f) for f in server.faults] == [ZeroDivisionError]
    server.faults.clear()
    assert browser.act()[0] == 200


def test_a_state_that_is_known_is_not_sent_again(browser):
    state = f"{browser.place}state"
    assert browser.ask("GET", state)[::2] == (200, b'{"version": 0}')
    assert browser.ask("GET", f"{state}?since=0")[::2] == (204, b"")
    browser.act()
    assert browser.ask("GET", f"{state}?since=0")[::2] == (200, b'{"version": 1}')


def test_a_browser_that_hangs_up_is_no_fault(browser, server):
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nContent-Length: 50\r\n\r\n{")
    assert browser.act()[0] == 200


def run(page, do=lambda server: None, **limits):
    """Serve a page until it ends by itself, and return why."""
    server = PageServer(page, **limits)
    failure = threading.Timer(20, server.stop)
    failure.start()
    try:
        return server.serve(lambda: do(server))
    finally:
        failure.cancel()


def test_it_ends_when_the_page_says_so(page):
    answers = []
    ending = run(page, lambda s: answers.append(Browser(s).ask("POST", f"/{s.access.place}/done", b"{}")))
    assert ending is Ending.DONE
    assert answers[0][0] == 204


def test_it_ends_when_it_is_idle_and_asking_for_the_state_is_no_work(page):
    stop = threading.Event()

    def poll(server):
        def ask():
            while not stop.is_set():
                try:
                    Browser(server).ask("GET", f"/{server.access.place}/state")
                except OSError:
                    return
                time.sleep(0.1)

        threading.Thread(target=ask, daemon=True).start()

    began = time.monotonic()
    assert run(page, poll, idle_seconds=1.0) is Ending.IDLE
    stop.set()
    assert time.monotonic() - began < 15


def test_it_ends_after_the_last_tab_was_closed(page):
    def close(server):
        Browser(server).ask("POST", f"/{server.access.place}/leave", b"{}")

    assert run(page, close, closed_seconds=0.5) is Ending.CLOSED


def test_another_tab_keeps_it(page):
    def close_one(server):
        browser = Browser(server)
        browser.ask("POST", f"{browser.place}leave", b"{}")
        browser.ask("GET", f"{browser.place}state")

    assert run(page, close_one, closed_seconds=0.3, idle_seconds=2.0) is Ending.IDLE


def test_it_ends_when_it_is_stopped_and_the_port_is_free(page):
    servers = []

    def stop(server):
        servers.append(server)
        server.stop()

    assert run(page, stop) is Ending.INTERRUPTED
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", servers[0].port), timeout=5)


class Slow(Counter):
    """A page whose actions take until they are released."""

    def __init__(self):
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()

    def act(self, request):
        self.begun.set()
        assert self.released.wait(20)
        return super().act(request)


@pytest.mark.parametrize("end", ["stop", "done"])
def test_an_action_that_has_begun_is_finished_and_answered_and_no_other_begins(end):
    page, answers = Slow(), []
    server = PageServer(page)
    serving = threading.Thread(target=server.serve)
    serving.start()

    def ask():
        with suppress(OSError):  # the connection is not accepted any more
            answers.append(Browser(server).act()[0])

    acts = [threading.Thread(target=ask) for _ in range(3)]
    for act in acts:
        act.start()
    assert page.begun.wait(10)
    if end == "done":  # in another tab; it waits, too
        done = threading.Thread(target=Browser(server).ask, args=("POST", f"/{server.access.place}/done", b"{}"))
        done.start()
    else:
        server.stop()
    serving.join(1)
    assert serving.is_alive()
    page.released.set()
    serving.join(10)
    assert not serving.is_alive()
    number = page.number
    for act in acts:
        act.join(10)
    assert answers.count(200) == number == page.number
    assert number == 1 or end == "done"


def test_only_this_machine_reaches_it(server):
    listening = server._http.socket.getsockname()
    assert listening[0] == "127.0.0.1"


def test_two_servers_have_nothing_in_common(page):
    first, second = PageServer(page), PageServer(page)
    secrets = [
        {s.access.place, s.access.key, s.access.launch, s.access.cookie, s.access.token} for s in (first, second)
    ]
    assert len(secrets[0] | secrets[1]) == 10
    for server in (first, second):
        server._http.server_close()
