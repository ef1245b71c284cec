"""Serve a page to the user's browser until the user is done with it."""

import os
import signal
import threading
from typing import TYPE_CHECKING

from myvlm_cli.output import out
from myvlm_cli.viewer import open_address

if TYPE_CHECKING:
    from engine.pages.server import Ending, Page, PageServer


def serve_page(page: "Page") -> "Ending":
    """Open a page in the browser, print its address, and return why it ended; Ctrl-C ends it, too."""
    from engine.pages.server import PageServer

    server = PageServer(page)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda *_: server.stop()) if is_main else None
    try:
        ending = server.serve(lambda: _show(server))
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)
    for fault in server.faults:
        out.warn(f"the page asked for something that failed unexpectedly: {fault or type(fault).__name__}")
    return ending


def _show(server: "PageServer") -> None:
    opened = open_address(server.launch_address)
    if not opened:
        server.drop_launch_address()
    out.say("The page is open in your browser." if opened else "Open this address in a browser on this machine:")
    out.text(server.address)
    if not opened and "SSH_CONNECTION" in os.environ:
        forward = f"ssh -L {server.port}:127.0.0.1:{server.port} THIS_MACHINE"
        out.say(f"From another machine, first run there: {forward}")
    out.say("It can be reached from this machine only. Done on the page, or Ctrl-C, ends it.")
