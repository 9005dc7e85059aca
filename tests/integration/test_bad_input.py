"""What people send who mean harm, or whose software is broken: a clear error each, and nothing stays behind."""
import httpx
import pytest

from conftest import new_folder
from tide.scripted import ScriptedWorker
from tide.stack import APIKEY, Stack
from tide.tokens import Issuer

USER = [{"role": "user", "content": "Hi."}]


class Door:
    """One gateway with accounts and chat, asked over HTTP/1.1 and HTTP/2."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.issuer = Issuer(stack.folder)
        self.worker = ScriptedWorker()
        stack.start_postgres()
        stack.start_redis()
        settings = stack.settings()
        settings["issuers"] = [self.issuer.settings()]
        settings["chat"]["workers"] = [{"name": "w", "target": self.worker.target, "models": ["m"]}]
        self.gateway = stack.start_gateway(settings)
        self.bearer = {"authorization": f"Bearer {self.issuer.token()}"}
        self.http = httpx.Client(base_url=self.gateway.url, verify=stack.trust, http2=True, timeout=30)

    def chat(self, body: bytes) -> httpx.Response:
        return self.http.post("/v1/chat/completions", content=body,
                              headers={**self.bearer, "content-type": "application/json"})

    def auth(self, path: str, body: bytes) -> httpx.Response:
        return self.http.post(f"/auth/v1/{path}", content=body,
                              headers={"apikey": APIKEY, "content-type": "application/json"})


@pytest.fixture(scope="module")
def door():
    with Stack(new_folder()) as stack:
        d = Door(stack)
        yield d
        d.http.close()
        d.worker.stop()


MALFORMED = {
    "empty": b"", "not JSON": b"phone=1", "cut": b'{"model":"m"', "two": b"{}{}", "array": b"[]", "number": b"1",
    "NUL": b'{"model":"m\\u0000"}', "raw NUL": b'{"model":"m\x00"}', "lone high surrogate": b'{"model":"\\ud800"}',
    "lone low surrogate": b'{"model":"\\udc00x"}', "bad UTF-8": b'{"model":"\xff"}', "BOM": b'\xef\xbb\xbf{"model":"m"}',
    "duplicate": b'{"model":"m","model":"n"}', "duplicate by escape": b'{"model":"m","mod\\u0065l":"n"}',
    "comment": b'{"model":"m"/*x*/}', "NaN": b'{"model":NaN}', "single quotes": b"{'model':'m'}",
    "trailing comma": b'{"model":"m",}', "leading zero": b'{"n":01}',
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_json_is_told_in_the_dialect_of_the_path(door, what):
    chat = door.chat(MALFORMED[what])
    assert chat.status_code == 400, chat.text
    error = chat.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"]
    for path in ("otp", "verify", "token?grant_type=refresh_token"):
        answer = door.auth(path, MALFORMED[what])
        assert answer.status_code == 400, (path, answer.text)
        assert answer.json()["code"] in ("bad_json", "validation_failed"), answer.text
