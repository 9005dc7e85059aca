"""Bytes that say whose they are: every request has an owner of its own, and all that belongs to it repeats that name.

The upstream checks the bodies that it gets, and answers with the owner's bytes: in one piece or many, at once or late,
whole or cut off. For a chat request it streams events that carry the owner's name.
"""
import asyncio
import json
from urllib.parse import parse_qs, urlsplit

from upstream import read_body, reply

MOST = 200_000


def bytes_of(owner: str, n: int) -> bytes:
    name = owner.encode() + b"."
    return (name * (n // len(name) + 1))[:n]


def path_of(owner: str, n: int, delay_ms: int = 0, cut: bool = False) -> str:
    return f"/x/{owner}?n={n}&d={delay_ms}" + ("&cut=1" if cut else "")


async def answer_owner(url, reader, writer, fields, mixed: list[str]) -> None:
    owner = url.path.rpartition("/")[2]
    body = await read_body(reader, fields)
    if body != bytes_of(owner, len(body)):
        mixed.append(f"a body of {owner} holds {body[:200]!r}")
    wish = parse_qs(url.query)
    n = int(wish["n"][0])
    await asyncio.sleep(int(wish["d"][0]) / 1000)
    writer.write(b"HTTP/1.1 200 OK\r\nx-owner: %s\r\ncontent-length: %d\r\n\r\n" % (owner.encode(), n))
    data = bytes_of(owner, n)
    if "cut" in wish:
        writer.write(data[:n // 2])
        await writer.drain()
        writer.close()
        return
    for at in range(0, n, 20_000):
        writer.write(data[at:at + 20_000])
        await writer.drain()


async def answer_chat(reader, writer, fields, mixed: list[str]) -> None:
    owner = json.loads(await read_body(reader, fields))["messages"][0]["content"]
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for n in range(4):
        event = {"id": owner, "object": "chat.completion.chunk", "created": 1, "model": "m",
                 "choices": [{"index": 0, "delta": {"content": owner}, "finish_reason": "stop" if n == 3 else None}]}
        text = b"data: " + json.dumps(event).encode() + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(text), text))
        await writer.drain()
        await asyncio.sleep(0.001)
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def owning():
    mixed: list[str] = []

    async def answer(path, reader, writer, fields):
        url = urlsplit(path)
        if url.path == "/stats":
            reply(writer, json.dumps({"mixed": mixed[:20]}).encode())
        elif url.path == "/v1/models":
            reply(writer, b'{"object":"list","data":[{"id":"m","object":"model"}]}')
        elif url.path == "/health":
            reply(writer, b"{}")
        elif url.path == "/v1/chat/completions":
            await answer_chat(reader, writer, fields, mixed)
        else:
            await answer_owner(url, reader, writer, fields, mixed)
    return answer
