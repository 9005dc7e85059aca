"""A gateway's read socket that says what the test wants: JSON by path."""
import http.server
import json
import socketserver
import threading
from pathlib import Path


class FakeReadSocket:
    def __init__(self, path: Path):
        self.path = path
        self.answers: dict[str, object] = {}  # of /admin/v1/...: JSON, or a function that makes it; others answer 404
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                found = fake.answers.get(self.path.partition("?")[0].removeprefix("/admin/v1/"))
                found = found() if callable(found) else found
                body = json.dumps(found if found is not None else {"detail": "not here"}).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
