"""The other side of a channel: a web server and a mail server, real sockets, in threads."""

import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """One request as it came."""

    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """Answers with the statuses in `answers`, one after another, then 204. `hang` never answers."""

    port: int = 0
    answers: list[int] = field(default_factory=list[int])
    hang: threading.Event | None = None
    requests: list[Received] = field(default_factory=list[Received])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/secret-path"


@contextmanager
def web_server() -> Generator[WebServer]:
    state = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            body = self.rfile.read(int(self.headers["content-length"]))
            state.requests.append(Received({k.lower(): v for k, v in self.headers.items()}, body))
            if state.hang is not None:
                state.hang.wait(30)
            status = state.answers.pop(0) if state.answers else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"http://127.0.0.1:{state.port}/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        if state.hang is not None:
            state.hang.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailServer:
    """Speaks enough SMTP (RFC 5321) to take a mail; `refuse` maps a command to the answer it gets."""

    port: int = 0
    refuse: dict[str, str] = field(default_factory=dict[str, str])
    commands: list[str] = field(default_factory=list[str])
    mails: list[bytes] = field(default_factory=list[bytes])


@contextmanager
def mail_server() -> Generator[MailServer]:
    state = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

        def handle(self) -> None:
            self.say("220 test ESMTP")
            while line := self.rfile.readline().decode().strip():
                state.commands.append(line)
                verb = line.split(" ")[0].upper()
                if verb in state.refuse:
                    self.say(state.refuse[verb])
                elif verb == "EHLO":
                    self.say("250-test")
                    self.say("250 8BITMIME")
                elif verb == "DATA":
                    self.say("354 go on")
                    state.mails.append(self.mail())
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

        def mail(self) -> bytes:
            lines: list[bytes] = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line)
            return b"".join(lines)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
