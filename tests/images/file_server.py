"""A web server on localhost: the first part of a path says how well a file is given, /cut/images.zip."""

import re
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PAGE = (
    b"\n<!-- saved --><!DOCTYPE html><html><head><title>Google Drive -\n Quota exceeded</title></head></html>"
)
CUT = 150_000  # bytes that /cut/ and the like give before they close
PIECE = 20_000  # bytes that /slow/ gives at once
PAUSE = 0.05  # seconds after each


class Handler(BaseHTTPRequestHandler):
    """The behaviors; ``server.files`` holds name -> bytes, ``server.asked`` lists (path, Range)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        _, way, *rest, name = self.path.split("/")
        self.server.asked.append((self.path, self.headers.get("Range")))
        if way not in ("status", "redirect") and name not in self.server.files:
            self.answer(404, b"not here")
        else:
            getattr(self, way)(self.server.files.get(name, b""), *rest)
        self.close_connection = True

    def answer(self, status, body, length=None, **headers):
        self.send_response(status)
        for key, value in {
            "Connection": "close",
            "Content-Length": len(body) if length is None else length,
            **headers,
        }.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def part(self, data):
        """The status, what a Range header asks for, and the headers."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        if match and start >= len(data):
            return 416, b"", {"Content_Range": f"bytes */{len(data)}"}
        headers = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if match else {}
        return (206 if match else 200), data[start:], headers

    def good(self, data):
        status, body, headers = self.part(data)
        self.answer(status, body, **headers)

    def cut(self, data):
        status, body, headers = self.part(data)
        self.answer(status, body[:CUT], length=len(body), **headers)

    def never(self, data):
        """Announces the file and sends none of it."""
        self.answer(200, b"", length=len(data))

    def norange(self, data):
        self.answer(200, data)

    def cutnorange(self, data):
        """Cuts the first answer, then gives the whole whatever is asked."""
        first = sum(path == self.path for path, _ in self.server.asked) == 1
        self.answer(200, data[:CUT] if first else data, length=len(data))

    def wrongrange(self, data):
        """Answers with another range than asked."""
        first = "Range" in self.headers
        headers = {"Content_Range": f"bytes 7-{len(data) - 1}/{len(data)}"}
        self.answer(206 if first else 200, data[7:] if first else data, **(headers if first else {}))

    def status(self, _, code):
        self.answer(int(code), b"<html>sorry</html>")

    def html(self, _):
        self.answer(200, PAGE, Content_Type="application/zip")

    def wrong(self, data):
        status, body, headers = self.part(b"x" + data[1:])
        self.answer(status, body, **headers)

    def wrongcut(self, data):
        status, body, headers = self.part(b"x" * len(data))
        self.answer(status, body[:CUT], length=len(body), **headers)

    def longer(self, data):
        self.answer(200, data + b"more")

    def endless(self, data):
        """More than the file, without a length."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data * 2)

    def nolength(self, data):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def chunked(self, data):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def encoded(self, data):
        """A .gz that is announced as an encoding, as some servers do."""
        self.answer(200, data, Content_Encoding="gzip")

    def redirect(self, _, way):
        self.answer(302, b"", Location=f"/{way}/{self.path.split('/')[-1]}")

    def slow(self, data):
        status, body, headers = self.part(data)
        self.answer(status, b"", length=len(body), **headers)
        for start in range(0, len(body), PIECE):
            try:
                self.wfile.write(body[start : start + PIECE])
            except OSError:  # the client was killed
                return
            time.sleep(PAUSE)


class Server(ThreadingHTTPServer):
    """Forgives clients that go away."""

    daemon_threads = True

    def handle_error(self, *_):
        pass


@contextmanager
def serving(files):
    """Serve ``files``, name -> bytes; yield the server, with ``url`` beside what `Handler` names."""
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.asked = dict(files), []
    server.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
