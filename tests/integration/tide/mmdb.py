"""Writes MaxMind DB files: https://maxmind.github.io/MaxMind-DB/, as much of it as places need."""
import ipaddress
from pathlib import Path

MARKER = b"\xab\xcd\xefMaxMind.com"


class U16(int):
    """An integer stored as uint16; others are uint32."""


class U64(int):
    """Likewise uint64."""


def country(code: str) -> dict:
    return {"country": {"iso_code": code}}


def system(asn: int) -> dict:
    return {"autonomous_system_number": asn, "autonomous_system_organization": f"System {asn}"}


def _head(kind: int, size: int) -> bytes:
    extended = b"" if kind <= 7 else bytes([kind - 7])
    length = size if size < 29 else 29
    return bytes([(kind if kind <= 7 else 0) << 5 | length]) + extended + (bytes([size - 29]) if length == 29 else b"")


def _encode(value) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return _head(2, len(text)) + text
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(_encode(k) + _encode(v) for k, v in value.items())
    if isinstance(value, list):
        return _head(11, len(value)) + b"".join(map(_encode, value))
    kind = 5 if isinstance(value, U16) else 9 if isinstance(value, U64) else 6
    number = int(value).to_bytes(8, "big").lstrip(b"\0")
    return _head(kind, len(number)) + number


def _insert(root: list, network, leaf) -> None:
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    number = int(network.network_address)
    node = root
    for depth in range(bits):
        side = number >> (127 - depth) & 1
        if depth == bits - 1:
            node[side] = leaf
        else:
            if not isinstance(node[side], list):
                node[side] = [node[side], node[side]]  # a wider network goes on below
            node = node[side]


def build(networks: dict[str, dict], built_s: int = 1_760_000_000, kind: str = "Test-Places") -> bytes:
    """Prefix -> record; wider prefixes first. IPv4 stands at ::/96, as everywhere."""
    data, offsets, root = b"", {}, [None, None]
    for prefix, record in networks.items():
        encoded = _encode(record)
        if encoded not in offsets:
            offsets[encoded] = len(data)
            data += encoded
        _insert(root, ipaddress.ip_network(prefix), offsets[encoded])
    nodes = [root]
    for node in nodes:
        nodes.extend(side for side in node if isinstance(side, list))
    index = {id(node): i for i, node in enumerate(nodes)}
    tree = b""
    for node in nodes:
        for side in node:
            number = index[id(side)] if isinstance(side, list) else len(nodes) + (0 if side is None else 16 + side)
            tree += number.to_bytes(3, "big")
    about = {"binary_format_major_version": U16(2), "binary_format_minor_version": U16(0), "build_epoch": U64(built_s),
             "database_type": kind, "description": {"en": "made by a test"}, "ip_version": U16(6), "languages": ["en"],
             "node_count": len(nodes), "record_size": U16(24)}
    return tree + bytes(16) + data + MARKER + _encode(about)


def write(path: Path, networks: dict[str, dict], **more) -> Path:
    """Put in place whole, as programs that fetch such files do."""
    beside = path.with_suffix(".new")
    beside.write_bytes(build(networks, **more))
    beside.replace(path)
    return path
