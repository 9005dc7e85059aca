"""The admin API of a gateway about the policy, by its socket, and what apps are told meanwhile."""
from datetime import datetime, timedelta, timezone

import httpx

from .stack import APIKEY


class Admin:
    def __init__(self, gateway):
        self.http = httpx.Client(transport=httpx.HTTPTransport(uds=str(gateway.socket)), base_url="http://admin", timeout=60)

    def ask(self, method: str, path: str = "", code: int = 200, **body):
        answer = self.http.request(method, "/admin/v1/policy" + path, json=body or None)
        assert answer.status_code == code, answer.text
        return answer.json()

    def put(self, code: int = 200, reason: str = "test", **body) -> dict:
        return self.ask("PUT", code=code, reason=reason, **body)

    def get(self) -> dict:
        return self.ask("GET")

    def history(self) -> list:
        return self.ask("GET", "/history")["items"]


def told(gateway) -> dict:
    """What apps are told of sign-up."""
    return gateway.get("/auth/v1/settings", headers={"apikey": APIKEY}).json()["signup"]


def in_time(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
