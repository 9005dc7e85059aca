"""The installation of a launch day: two gateways, PostgreSQL, Redis, one real worker and the status page, as shipped but for
the numbers of this town; and the operator, who types tidectl and looks how long it takes until everybody knows."""
import json
import threading
import time

import httpx

from people import Tally, Telephone
from tide.process import wait_until
from tide.provider import Provider
from tide.stack import APIKEY, MODEL, Stack, program, run
from tide.status_page import StatusPage

ISSUER = "https://status.test"


def launch_policy(per_minute: int) -> dict:
    """Everybody may sign up, so many a minute; who comes when that is used up is told to come again."""
    return {"name": "launch-day", "existing_users": "unaffected",
            "rules": [{"id": "newcomers", "when": {"method": ["phone"]}, "effect": "allow", "caps": {"per_minute": per_minute}}],
            "default": {"effect": "deny", "reason": "signup_busy"}}


class Town:
    apikey, model = APIKEY, MODEL

    def __init__(self, stack: Stack, scale):
        self.stack, self.scale = stack, scale
        self.tally = Tally()
        self.provider = Provider()
        self.telephone = Telephone(self.provider)
        self.page: StatusPage | None = None

    def settings(self) -> dict:
        s = self.stack.settings()
        s["process"]["log_level"] = "warn"
        s["trusted_proxies"] = ["127.0.0.0/8"]
        s["hooks"] = {"sms": [{"url": self.provider.url, "secret_file": str(self.stack.folder / "hook.secret")}]}
        s["limits"]["rules"] = [{"name": "sms_day", "by": "all", "at": "sms", "limit": f"{self.scale.budget}/1d",
                                 "on_error": "closed", "role": "ledger"}]
        s["issuers"] = [{"issuer": ISSUER, "audience": "authenticated", "keys": str(self.stack.folder / "probe-keys")}]
        s["attack"] = {"automatic": False}  # on this day the operator decides
        s["sms"] = {"guard": {"window": "20s", "grace": "4s", "sends": 20, "percent": 20, "block": "10m"}}
        return s

    def open(self) -> None:
        stack = self.stack
        stack.start_postgres()
        stack.start_redis()
        stack.start_worker()
        keys = stack.folder / "probe-keys"
        keys.mkdir()
        run(program("tidectl"), "keys", "generate", keys)
        for _ in range(2):
            stack.start_gateway(self.settings())
        self.open_page(next(keys.glob("*.pem")))

    def open_page(self, key) -> None:
        """As shipped, but that it asks its database and the gateway more often than it probes."""
        stack = self.stack
        self.page = StatusPage(stack.folder / "status", stack.gateway.url, stack.ca, stack.cert, stack.key)
        self.page.settings["database"] = {"uri": stack.postgres.uri("tidegate_status")}
        self.page.settings["probe"].update({
            "apikey": APIKEY, "token_key": str(key), "token_issuer": ISSUER, "token_audience": "authenticated",
            "metrics_url": f"http://127.0.0.1:{stack.gateway.metrics_port}/metrics", "interval": "1s", "chat_interval": "10s"})
        self.page.start()

    def close(self) -> None:
        if self.page:
            self.page.process.stop()
        self.provider.stop()

    def a_night_passes(self) -> None:
        """What the day before has used up is there again."""
        self.stack.redis.command("FLUSHALL")
        self.stack.resend_time_passes()
        self.provider.seen = 0

    # --- the operator -----------------------------------------------------------------------------

    def ctl(self, *words) -> str:
        return self.stack.gateway.ctl(*words).stdout

    def ramp(self) -> dict:
        return json.loads(self.ctl("policy", "ramp", "status", "-o", "json"))

    def set_policy(self, name: str, reason: str, shown: str | None = None, *words) -> dict:
        """Seconds from the command to each gateway, and to the page."""
        began, found = time.monotonic(), {}

        def watch(what: str, knows) -> None:
            wait_until(knows, 60, f"{what} knows", every=0.02)
            found[what] = time.monotonic() - began

        def told(port: int):
            client = httpx.Client(base_url=f"https://localhost:{port}", verify=self.stack.trust, headers={"apikey": APIKEY})
            return lambda: client.get("/auth/v1/settings").json()["signup"]["policy"] == name

        def page():
            client = httpx.Client(base_url=self.page.url, verify=self.page.trust, timeout=10)
            return lambda: (shown in client.get("/en").text) if shown else client.get("/api/v2/incidents/unresolved.json").json()
        watchers = [threading.Thread(target=watch, args=(g.name, told(int(g.port)))) for g in self.stack.gateways]
        if shown:
            watchers.append(threading.Thread(target=watch, args=("page", page())))
        for w in watchers:
            w.start()
        self.ctl("policy", "set", *(words or (name,)), "--reason", reason)
        found["command"] = time.monotonic() - began
        for w in watchers:
            w.join(90)
        assert len(found) == len(watchers) + 1, f"not everybody knows of {name}: {found}"
        return {"command_s": found["command"], "fleet_s": max(found[g.name] for g in self.stack.gateways),
                "page_s": found.get("page")}

    # --- what it cost -----------------------------------------------------------------------------

    def sent(self) -> int:
        """Messages that the provider was handed, since the night."""
        with self.provider.lock:
            return self.provider.seen

    def budget_left(self) -> int:
        budgets = json.loads(self.ctl("sms", "top", "-o", "json"))["budgets"]
        return next(b["remaining"] for b in budgets if b["rule"] == "sms_day")

    def blocked(self) -> list[str]:
        return [b["prefix"] for b in json.loads(self.ctl("sms", "top", "-o", "json"))["blocked"]]
