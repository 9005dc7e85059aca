"""The server behind every target: answers quickly, hangs or streams, and counts what was started.

    /hang...        no answer until the other side closes        /bytes?n=N   N bytes as fast as they are taken
    /v1/models      so that it passes for a chat worker          /stats       counts by path, as JSON
    anything else   200 bytes once the body is whole

Counted are requests whose path is not one of the server's own.
"""
import asyncio
import json
import multiprocessing
import urllib.request
from collections import Counter
from urllib.parse import parse_qs, urlsplit

SMALL = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 200\r\n\r\n" + b"x" * 200
PIECE = b"y" * 65536


class Counts:
    def __init__(self):
        self.started: Counter[str] = Counter()
        self.running = 0

    def as_json(self) -> bytes:
        return json.dumps({"started": self.started, "running": self.running}).encode()


def reply(writer, body: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def read_body(reader, fields: dict[bytes, bytes]) -> bytes:
    pieces = []
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        while (await reader.readline()).strip():
            pass
    else:
        left = int(fields.get(b"content-length", 0))
        while left > 0 and (piece := await reader.read(min(left, 65536))):
            pieces.append(piece)
            left -= len(piece)
        if left > 0:
            raise asyncio.IncompleteReadError(b"", left)
    return b"".join(pieces)


async def stream(writer, n: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % n)
    while n > 0:
        writer.write(PIECE[:n])
        n -= len(PIECE)
        await writer.drain()


async def answer(path: str, reader, writer, fields, counts: Counts) -> None:
    url = urlsplit(path)
    if url.path == "/stats":
        reply(writer, counts.as_json())
    elif url.path == "/v1/models":
        reply(writer, b'{"object":"list","data":[{"id":"m","object":"model"}]}')
    elif url.path == "/health":
        reply(writer, b"{}")
    else:
        counts.started[url.path] += 1
        counts.running += 1
        try:
            await work(url, reader, writer, fields)
        finally:
            counts.running -= 1


async def work(url, reader, writer, fields) -> None:
    if url.path.endswith("/hang"):
        await reader.read()
    elif url.path.endswith("/bytes"):
        await stream(writer, int(parse_qs(url.query)["n"][0]))
        await writer.drain()
    else:
        await read_body(reader, fields)
        writer.write(SMALL)


async def serve(reader, writer, answer) -> None:
    """Requests of one connection, one after another: answer(path, reader, writer, fields) writes what follows each."""
    try:
        while line := await reader.readline():
            fields = {}
            while (field := (await reader.readline()).strip()):
                name, _, value = field.partition(b":")
                fields[name.strip().lower()] = value.strip()
            await answer(line.split()[1].decode("latin-1"), reader, writer, fields)
            await writer.drain()
            if line.split()[2] == b"HTTP/1.0" or fields.get(b"connection") == b"close":
                break
    except (OSError, ValueError, IndexError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main(port: int, answer) -> None:
    server = await asyncio.start_server(lambda r, w: serve(r, w, answer), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def counting():
    counts = Counts()
    return lambda path, reader, writer, fields: answer(path, reader, writer, fields, counts)


class Upstream:
    """The server in a process of its own."""

    def __init__(self, port: int, make_answer=None):
        self.port = port
        answer = (make_answer or counting)()
        self.process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(main(port, answer)), daemon=True)
        self.process.start()

    def stats(self) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
