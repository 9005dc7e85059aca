"""The scripted worker over HTTP/2 with prior knowledge: the same means to answer, as streams of one connection."""
import json
import socket
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from .scripted import Exchange, ScriptedWorker


class Connection:
    """One accepted connection: h2's state and the socket behind one lock; whoever waits is woken by what comes in."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.changed = threading.Condition()
        self.is_open = True
        self.reset: set[int] = set()
        with self.changed:
            self.h2.initiate_connection()
            self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def end(self) -> None:
        with self.changed:
            self.is_open = False
            self.changed.notify_all()

    def is_gone(self, stream: int) -> bool:
        return not self.is_open or stream in self.reset

    def need(self, stream: int) -> None:
        if self.is_gone(stream):
            raise ConnectionResetError


class H2Exchange(Exchange):
    patience_s = 20

    def __init__(self, conn: Connection, stream: int, method: str, path: str, headers: dict, body: bytes):
        super().__init__(conn.sock, method, path, headers, body)
        self.conn, self.stream_id = conn, stream

    def head(self, fields: list) -> None:
        with self.conn.changed:
            self.conn.need(self.stream_id)
            self.conn.h2.send_headers(self.stream_id, fields)
            self.conn.flush()

    def room(self) -> int:
        self.conn.need(self.stream_id)
        return min(self.conn.h2.local_flow_control_window(self.stream_id), self.conn.h2.max_outbound_frame_size)

    def chunk(self, data: bytes) -> None:
        with self.conn.changed:
            while data:
                assert self.conn.changed.wait_for(self.room, self.patience_s), "the window stays shut"
                room = self.room()
                self.conn.h2.send_data(self.stream_id, data[:room])
                self.conn.flush()
                data = data[room:]

    def wait_at_most(self, seconds: float) -> None:
        self.patience_s = seconds

    def finish(self) -> None:
        with self.conn.changed:
            self.conn.need(self.stream_id)
            self.conn.h2.end_stream(self.stream_id)
            self.conn.flush()

    def reply(self, status: int, value, headers: str = "") -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        more = [tuple(line.split(": ", 1)) for line in headers.split("\r\n") if line]
        self.head([(":status", str(status)), ("content-type", "application/json"), *more,
                   ("content-length", str(len(body)))])
        self.chunk(body)
        self.finish()

    def start_stream(self) -> None:
        self.head([(":status", "200"), ("content-type", "text/event-stream")])

    def end_stream(self, done: bool = True) -> None:
        if done:
            self.event("[DONE]")
        self.finish()

    def break_framing(self) -> None:
        self.sock.sendall(b"\0\0\5\4\0\0\0\0\0hello")  # SETTINGS of five bytes

    def answer_short(self) -> None:
        self.head([(":status", "200"), ("content-type", "application/json"), ("content-length", "99")])
        self.chunk(b"{")
        self.close()

    def close(self) -> None:
        self.closed = True
        self.sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        with self.conn.changed:
            self.conn.h2.reset_stream(self.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.conn.flush()

    def wait_gone(self, seconds: float = 5) -> float:
        began = time.monotonic()
        with self.conn.changed:
            assert self.conn.changed.wait_for(lambda: self.conn.is_gone(self.stream_id), seconds), "it stays"
        return time.monotonic() - began


class ScriptedH2Worker(ScriptedWorker):
    """Counts its connections, too."""

    def __init__(self, models=("m",)):
        self.connections = 0
        super().__init__(models)

    def _serve(self, sock: socket.socket) -> None:
        self.connections += 1
        requests: dict[int, tuple[dict, bytearray]] = {}
        conn = Connection(sock)
        try:
            while data := sock.recv(65536):
                with conn.changed:
                    for event in conn.h2.receive_data(data):
                        self._on_event(conn, requests, event)
                    conn.flush()
                    conn.changed.notify_all()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            conn.end()
            self.open.discard(sock)
            sock.close()

    def _on_event(self, conn: Connection, requests: dict, event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            requests[event.stream_id] = (dict(event.headers), bytearray())
        elif isinstance(event, h2.events.DataReceived):
            requests[event.stream_id][1].extend(event.data)
            conn.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            headers, body = requests.pop(event.stream_id)
            method, path = headers.pop(":method"), headers.pop(":path")
            headers["host"] = headers.pop(":authority")
            headers.pop(":scheme")
            exchange = H2Exchange(conn, event.stream_id, method, path, headers, bytes(body))
            threading.Thread(target=self._answer_quietly, args=(exchange,), daemon=True).start()
        elif isinstance(event, h2.events.StreamReset):
            conn.reset.add(event.stream_id)

    def _answer_quietly(self, exchange: H2Exchange) -> None:
        try:
            self.answer(exchange)
        except (OSError, h2.exceptions.ProtocolError):
            pass
