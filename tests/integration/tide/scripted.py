"""A worker that does what a test says: speaks HTTP/1.1 itself, keeps what it was asked, sees who leaves."""
import json
import socket
import struct
import threading
import time

from .process import free_port


class Exchange:
    """One request that came to the worker, and the means to answer it byte by byte."""

    def __init__(self, sock: socket.socket, method: str, path: str, headers: dict, body: bytes):
        self.sock = sock
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.closed = False
        self.at = time.monotonic()

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self, status: int, value, headers: str = "") -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send(f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}"
                  f"content-length: {len(body)}\r\n\r\n".encode() + body)

    def start_stream(self) -> None:
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, value) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        self.chunk(f"data: {text}\n\n".encode())

    def delta(self, finish: str | None = None, **delta) -> None:
        self.event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def wait_at_most(self, seconds: float) -> None:
        """For whoever takes a piece."""
        self.sock.settimeout(seconds)

    def flood_until_held(self) -> None:
        """Content until nobody has taken any for two seconds."""
        self.wait_at_most(2)
        try:
            for _ in range(20000):
                self.delta(content="x" * 10000)
        except (TimeoutError, AssertionError):
            return
        raise AssertionError("somebody reads all of it")

    def usage(self, prompt: int = 5, completion: int = 2) -> None:
        self.event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
                    "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                              "total_tokens": prompt + completion}})

    def end_stream(self, done: bool = True) -> None:
        if done:
            self.event("[DONE]")
        self.send(b"0\r\n\r\n")

    def stream(self, words: list[str]) -> None:
        self.start_stream()
        self.delta(role="assistant", content="")
        for word in words:
            self.delta(content=word)
        self.delta(finish="stop")
        if self.json.get("stream_options", {}).get("include_usage"):
            self.usage(completion=len(words))
        self.end_stream()

    def completion(self, text: str, **message) -> None:
        self.reply(200, {"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
                         "choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message},
                                      "finish_reason": "stop"}],
                         "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})

    def break_framing(self) -> None:
        self.send(b"zz\r\n")

    def answer_short(self) -> None:
        """Less than was announced, then the end."""
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self.closed = True
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def wait_gone(self, seconds: float = 5) -> float:
        """How long until the other side closed; fails when it does not."""
        began = time.monotonic()
        self.sock.settimeout(seconds)
        try:
            assert self.sock.recv(1) == b"", "more bytes instead of the end"
        except ConnectionResetError:
            pass
        return time.monotonic() - began


def answer_well(exchange: Exchange) -> None:
    if exchange.json.get("stream"):
        exchange.stream(["The", " tide", " turns."])
    else:
        exchange.completion("The tide turns.")


def read_chunked(file) -> bytes:
    body = b""
    while size := int(file.readline(), 16):
        body += file.read(size)
        assert file.readline() == b"\r\n"
    assert file.readline() == b"\r\n"
    return body


class ScriptedWorker:
    def __init__(self, models=("m",)):
        self.models = list(models)
        self.behave = answer_well
        self.health = 200
        self.asked: list[Exchange] = []
        self.errors: list[BaseException] = []
        self.port = free_port()
        self.listener: socket.socket | None = None
        self.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.open: set[socket.socket] = set()
        self.acceptor = threading.Thread(target=self._accept, args=(self.listener,), daemon=True)
        self.acceptor.start()

    def stop(self) -> None:
        """As a crash would: the port refuses, all connections end."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def take_no_more(self) -> None:
        """Whoever connects from now on waits: nobody accepts, and the kernel's queue is full. What is open goes on."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        self.listener.listen(0)
        self.queued = []
        try:
            while True:
                self.queued.append(socket.create_connection(("127.0.0.1", self.port), timeout=0.5))
        except TimeoutError:
            pass

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        file = sock.makefile("rb")
        try:
            while self._one(sock, file):
                pass
        except (OSError, ValueError):
            pass
        finally:
            self.open.discard(sock)
            file.close()
            sock.close()

    def _one(self, sock: socket.socket, file) -> bool:
        line = file.readline()
        if not line:
            return False
        method, path, _ = line.decode().split(" ", 2)
        headers = {}
        while (line := file.readline().decode().rstrip("\r\n")):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = read_chunked(file) if "transfer-encoding" in headers else file.read(int(headers.get("content-length", 0)))
        exchange = Exchange(sock, method, path, headers, body)
        return self.answer(exchange) and not exchange.closed

    def answer(self, exchange: Exchange) -> bool:
        if exchange.path == "/health":
            exchange.reply(self.health, {})
        elif exchange.path == "/v1/models":
            exchange.reply(200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})
        else:
            self.asked.append(exchange)
            try:
                self.behave(exchange)
            except (BrokenPipeError, ConnectionResetError):
                return False
            except AssertionError as error:
                self.errors.append(error)
                return False
        return True
