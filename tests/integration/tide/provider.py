"""An SMS provider's adapter: speaks the hook protocol, and does what a test wants of it."""
import http.server
import json
import threading
import time


class Provider:
    """In `mode` "ok" it takes codes; or answers with a status; or "hang"s, or is "gone". `seen` counts what came, `codes` what it took."""

    def __init__(self):
        self.mode: str | int = "ok"
        self.seen = 0
        self.codes: dict[str, list[str]] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert self.headers["webhook-id"] and self.headers["webhook-signature"].startswith("v1,")
                status = outer.take(body["data"])
                self.close_connection = not status
                if status:
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.lock = threading.Lock()

    def take(self, message: dict) -> int:
        with self.lock:
            self.seen += 1
            if self.mode == "ok":
                self.codes.setdefault(message["to"], []).append(message["code"])
        if self.mode == "hang":
            time.sleep(5)
        if self.mode in ("hang", "gone"):
            return 0
        return 200 if self.mode == "ok" else int(self.mode)

    @property
    def taken(self) -> int:
        with self.lock:
            return sum(len(codes) for codes in self.codes.values())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/sms"

    def stop(self) -> None:
        self.mode = "gone"
        self.server.shutdown()
        self.server.server_close()
