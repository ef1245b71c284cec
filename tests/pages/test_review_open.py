"""myvlm review --open: serve the page, store what is decided, and say what to do next."""

import io
import json
import os
import signal
import threading
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

import myvlm_cli.serving
import myvlm_cli.viewer
from engine.session import Session, SessionOptions


def ask(address, method, path, body=None, **headers):
    """Return the headers and the text of an answer."""
    host = address.split("/")[2]
    origin = {"Origin": f"http://{host}"} if method == "POST" else {}
    with closing(HTTPConnection(host, timeout=10)) as connection:
        connection.request(method, path, body, {**origin, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status < 400, text
        return answer.headers, text


def visit(address, *actions):
    """Do what the browser does: enter, read the page's token, act, and be done."""
    entered, _ = ask(address, "GET", f"/?{address.partition('?')[2]}")
    place, cookie = entered["Location"], entered["Set-Cookie"].partition(";")[0]
    _, html = ask(address, "GET", place, Cookie=cookie)
    data = json.loads(html.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])
    headers = {"Cookie": cookie, "X-Myvlm-Token": data["token"], "Content-Type": "application/json"}
    for action in actions:
        ask(address, "POST", f"{place}act", json.dumps(action), **headers)
    ask(address, "POST", f"{place}done", "{}", **headers)


@pytest.fixture
def browser(monkeypatch):
    """Set what the browser does with the address that it is opened with."""

    def use(act, *, opened=True):
        def open_address(address):
            threading.Thread(target=act, args=(address,), daemon=True).start()
            return opened

        monkeypatch.setattr(myvlm_cli.serving, "open_address", open_address)

    return use


CONFIRM, REJECT = ({"do": "choose", "items": [n], "choice": c} for n, c in enumerate(("confirm", "reject")))


def decisions() -> list[tuple[str, str]]:
    store = Session(SessionOptions("storybook"), Path(os.environ["MYVLM_HOME"])).store
    return sorted((d.path.name, str(d.verdict)) for d in store.decisions.all())


def test_what_is_decided_on_the_page_is_stored(myvlm, album, browser):
    browser(lambda address: visit(address, CONFIRM, REJECT, {"do": "undo"}))
    result = myvlm("review", album, "--open")
    assert result.code == 0, result.err
    (address,) = result.out.splitlines()
    assert address.startswith("http://127.0.0.1:")
    assert "The page is open in your browser." in result.err
    assert "1 confirmed, 0 rejected, 3 undecided." in result.err
    assert result.err.endswith(f"Next: myvlm caption {album}\n")
    assert [verdict for _, verdict in decisions()] == ["confirm"]
    again = myvlm("review", album, "--json")
    assert len(again.json["maybes"]) == 3


def test_the_address_on_the_terminal_works_where_no_browser_opens(myvlm, album, browser, capsys, monkeypatch):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    printed = []
    text = myvlm_cli.serving.out.text
    monkeypatch.setattr(myvlm_cli.serving.out, "text", lambda line: (printed.append(line), text(line)))

    def wait(_):
        while not printed:
            pass
        visit(printed[0], REJECT)

    browser(wait, opened=False)
    result = myvlm("review", album, "--open", "--limit", "2")
    assert result.code == 0, result.err
    assert "Open this address in a browser on this machine:" in result.err
    assert "ssh -L" in result.err
    assert "0 confirmed, 1 rejected, 1 undecided." in result.err


def test_ctrl_c_ends_it_and_keeps_what_was_decided(myvlm, album, browser):
    def interrupt(address):
        os.kill(os.getpid(), signal.SIGINT)

    browser(interrupt)
    before = signal.getsignal(signal.SIGINT)
    result = myvlm("review", album, "--open")
    assert result.code == 0, result.err
    assert "0 confirmed, 0 rejected, 4 undecided." in result.err
    assert f"Next: myvlm review {album} --open" in result.err
    signal.signal(signal.SIGINT, before)


def test_the_next_commands_keep_what_was_given(myvlm, album, browser, tmp_path):
    (tmp_path / "my list").write_text("".join(f"{p}\n" for p in sorted(album.glob("*.jpg"))))
    browser(visit)
    chosen = ("--include", "*.jpg", "--recogniser", "storybook")
    result = myvlm("review", "--open", "--files-from", tmp_path / "my list", "--concepts", "Rex", "--limit", 2, *chosen)
    listed = f"'--files-from={tmp_path}/my list' '--include=*.jpg'"
    assert f"Next: myvlm review {listed} --concepts=Rex --limit=2 --open --recogniser=storybook\n" in result.err
    browser(lambda address: visit(address, CONFIRM))
    result = myvlm("review", "--open", album, album / "rex.jpg", *chosen)
    assert f"Next: myvlm caption {album} {album}/rex.jpg '--include=*.jpg' --recogniser=storybook\n" in result.err
    result = myvlm("review", "--open", *sorted(album.glob("*.jpg")) * 4)
    assert "Next: myvlm caption PATHS\n" in result.err


def test_a_list_from_stdin_is_not_repeated(myvlm, album, browser, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{album}\n".encode())))
    browser(visit)
    assert "Next: myvlm review --open - < LIST\n" in myvlm("review", "--open", "-").err


def test_no_key_is_left_where_no_browser_started(myvlm, album, browser, monkeypatch):
    addresses = []

    def refuse(address):
        addresses.append(address)
        return False

    def try_it(line):
        try:
            ask(addresses[0], "GET", f"/?{addresses[0].partition('?')[2]}")
        except AssertionError as err:
            refusals.append(str(err))
        visit(line)

    refusals = []
    monkeypatch.setattr(myvlm_cli.serving, "open_address", refuse)
    monkeypatch.setattr(
        myvlm_cli.serving.out, "text", lambda line: threading.Thread(target=try_it, args=(line,)).start()
    )
    assert myvlm("review", album, "--open").code == 0
    assert ["used before" in refusal for refusal in refusals] == [True]


def test_nothing_is_served_when_there_is_nothing_to_review(myvlm, album, browser, tmp_path):
    browser(lambda address: pytest.fail("a browser was opened"))
    result = myvlm("review", album, "--open", "--include", "none*")
    assert (result.code, result.out) == (0, "")
    assert "Nothing to review" in result.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--html", "x.html"], "--open shows the page in the browser, and --html does not"),
        (["--json"], "--open shows the page in the browser, and --json does not"),
        (["--apply", "-"], "looks at no photos"),
    ],
)
def test_what_contradicts_open(myvlm, album, options, told):
    paths = [] if "--apply" in options else [album]
    result = myvlm("review", *paths, "--open", *options)
    assert (result.code, told in result.err) == (2, True), result.err


@pytest.mark.skipif(os.name == "nt", reason="Windows opens addresses itself")
@pytest.mark.parametrize(
    ("display", "script", "opened"),
    [(":0", "exit 0", True), (":0", "exit 3", False), (":0", "sleep 30", True), (None, "exit 0", False)],
)
def test_whether_a_browser_was_opened(tmp_path, monkeypatch, display, script, opened):
    for name in ("xdg-open", "open"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{script}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(myvlm_cli.viewer, "_FAILS_WITHIN", 1.0)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    assert myvlm_cli.viewer.open_address("http://127.0.0.1:1/?key=x") is opened
    assert (tmp_path / "asked").exists() is (display is not None)
