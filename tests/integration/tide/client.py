"""What an app would do, over httpx: sign up by phone code, refresh, chat."""
import itertools
import json
import ssl
import time
from pathlib import Path

import httpx

_numbers = itertools.count(13_800_100_000 + int(time.time()) % 1000 * 10_000 % 9_000_000)


def mainland_phone() -> str:
    """A number that no other test has: +86 138..."""
    return f"+86{next(_numbers)}"


class Outbox:
    """The folder that deploy/sms-outbox writes to."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.known: dict[str, tuple[int, dict]] = {}  # by file name: when, and what; a file never changes

    def messages(self, phone: str) -> list[dict]:
        for path in self.folder.glob("*.json"):
            if path.name not in self.known:
                self.known[path.name] = path.stat().st_mtime_ns, json.loads(path.read_text())
        found = [pair for pair in list(self.known.values()) if pair[1]["to"] == phone]
        return [message for _, message in sorted(found, key=lambda pair: pair[0])]

    def wait_for_code(self, phone: str, seen: int = 0, seconds: float = 10) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.messages(phone)
            if len(found) > seen:
                return found[-1]["code"]
            time.sleep(0.02)
        raise AssertionError(f"no code for {phone} within {seconds} s")


class App:
    """One app on one device, talking to one gateway."""

    def __init__(self, url: str, trust: ssl.SSLContext, apikey: str, outbox: Outbox, http2: bool = True, **options):
        self.outbox = outbox
        self.apikey = apikey
        options.setdefault("timeout", 30)
        self.http = httpx.Client(base_url=url, verify=trust, http2=http2, headers={"apikey": apikey}, **options)
        self.session: dict | None = None

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> "App":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def ask_code(self, phone: str, **more) -> httpx.Response:
        return self.http.post("/auth/v1/otp", json={"phone": phone, **more})

    def verify(self, phone: str, code: str) -> httpx.Response:
        return self.http.post("/auth/v1/verify", json={"type": "sms", "phone": phone, "token": code})

    def sign_up(self, phone: str | None = None) -> dict:
        """By code; the same call signs in who has an account. The session as the server answered it."""
        phone = phone or mainland_phone()
        seen = len(self.outbox.messages(phone))
        asked = self.ask_code(phone)
        assert asked.status_code == 200, asked.text
        answer = self.verify(phone, self.outbox.wait_for_code(phone, seen))
        assert answer.status_code == 200, answer.text
        self.session = answer.json()
        return self.session

    def refresh(self, token: str | None = None) -> httpx.Response:
        return self.http.post("/auth/v1/token?grant_type=refresh_token",
                              json={"refresh_token": token or self.session["refresh_token"]})

    def bearer(self) -> dict:
        return {"authorization": f"Bearer {self.session['access_token']}"}

    def user(self) -> httpx.Response:
        return self.http.get("/auth/v1/user", headers=self.bearer())

    def chat(self, text: str = "Say hi.", **more) -> httpx.Response:
        body = {"model": more.pop("model", "smollm2-135m"), "messages": [{"role": "user", "content": text}],
                "max_tokens": 8, **more}
        return self.http.post("/v1/chat/completions", json=body, headers=self.bearer())

    def stream(self, text: str = "Say hi.", **more):
        """Context manager: the response of a streamed chat."""
        body = {"model": more.pop("model", "smollm2-135m"), "messages": [{"role": "user", "content": text}],
                "max_tokens": 8, "stream": True, **more}
        return self.http.stream("POST", "/v1/chat/completions", json=body, headers=self.bearer())


def code_of(answer: httpx.Response) -> str:
    """Why it was refused."""
    return answer.json()["code"]


def events(response: httpx.Response) -> list:
    """The data of each event of a stream, parsed; the last is "[DONE]" when the stream ended well."""
    found = []
    for line in response.iter_lines():
        if line.startswith("data:"):
            data = line[5:].strip()
            found.append(data if data == "[DONE]" else json.loads(data))
    return found
