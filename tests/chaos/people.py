"""Everybody of a launch day: newcomers who sign up, residents who have an account, and somebody who pumps messages.

Each of them is a person with an address of their own (X-Forwarded-For of a trusted proxy) and a telephone (the provider's
list of codes). A crowd lets so many of them act a second, on kept connections to both gateways."""
import collections
import http.client
import itertools
import json
import random
import ssl
import threading
import time

MAINLAND = [f"+861{n}" for n in (30, 31, 32, 33, 35, 36, 37, 38, 39, 50, 51, 52, 53, 55, 56, 57, 58, 59, 80, 81, 82, 83, 85, 86, 87, 88, 89)]
PUMPED = "+4474001"  # country code and five digits: what budgets and the guard call a prefix
TYPING_S = 1.0       # from the message to the code typed in


class Line:
    """A kept connection to one gateway."""

    def __init__(self, port: int, apikey: str):
        self.port, self.apikey, self.http = port, apikey, None

    def connect(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.http = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=30)

    def ask(self, path: str, body: dict, address: str, token: str = "") -> tuple[int, dict]:
        headers = {"apikey": self.apikey, "content-type": "application/json", "x-forwarded-for": address}
        if token:
            headers["authorization"] = f"Bearer {token}"
        for is_kept in (self.http is not None, False):
            try:
                if not is_kept:
                    self.connect()
                self.http.request("POST", path, json.dumps(body), headers)
                answer = self.http.getresponse()
                return answer.status, json.loads(answer.read() or b"{}")
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if not is_kept:  # a kept one may have been closed while it was idle
                    raise
        raise AssertionError


class Telephone:
    """Reads codes from what the SMS provider took."""

    def __init__(self, provider):
        self.provider = provider

    def count(self, phone: str) -> int:
        with self.provider.lock:
            return len(self.provider.codes.get(phone, ()))

    def code(self, phone: str, seen: int, seconds: float = 30) -> str | None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self.provider.lock:
                codes = self.provider.codes.get(phone, ())
                if len(codes) > seen:
                    return codes[-1]
            time.sleep(0.01)
        return None


class Tally:
    """What came of actions, by phase of the day."""

    def __init__(self):
        self.lock = threading.Lock()
        self.phase = "setup"
        self.counts = collections.defaultdict(collections.Counter)  # (phase, who) -> what came of it
        self.times = collections.defaultdict(list)                  # phase -> seconds of a chat

    def add(self, who: str, result: str) -> None:
        with self.lock:
            self.counts[self.phase, who][result] += 1

    def time(self, seconds: float) -> None:
        with self.lock:
            self.times[self.phase].append(seconds)


class Crowd:
    """`act(line)` so many times a second from several threads; who is late goes at once. Nothing is left undone silently:
    what went wrong with a connection is a result too."""

    def __init__(self, town, who: str, rate: float, threads: int, act):
        self.town, self.who, self.rate, self.act = town, who, rate, act
        self.next, self.lock, self.ended = itertools.count(), threading.Lock(), threading.Event()
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(threads)]
        for t in self.threads:
            t.start()

    def run(self, n: int) -> None:
        gateways = self.town.stack.gateways
        line = Line(int(gateways[n % len(gateways)].port), self.town.apikey)
        while True:
            with self.lock:
                due = self.began + next(self.next) / self.rate
            if self.ended.wait(max(0.0, due - time.monotonic())):
                return
            try:
                result = self.act(line)
            except Exception as error:  # noqa: BLE001 - all that a client may meet
                result, line.http = f"broken: {type(error).__name__}", None
            self.town.tally.add(self.who, result)

    def end(self) -> None:
        self.ended.set()
        for t in self.threads:
            t.join(60)


# --- newcomers ------------------------------------------------------------------------------------------------

_people = itertools.count()


def new_address(network: str, n: int) -> str:
    """Fifty people to a network of 256 addresses: what shares one, /24, has a limit of its own."""
    return f"{network}.{n // 50 % 250}.{n % 50 + 1}"


def new_phone(is_mainland: bool) -> str:
    if is_mainland:
        return f"{random.choice(MAINLAND)}{random.randrange(10 ** 8):08}"
    return f"+852{random.choice('69')}{random.randrange(10 ** 7):07}"


def outcome(status: int, body: dict) -> str:
    code = body.get("code", "")
    if status == 200:
        return "held" if "notice" in body else "sent"
    if code == "captcha_failed":
        return "challenged"
    if status == 403 or code == "signup_busy":
        return f"refused: {code}"
    return f"limited: {code}" if status == 429 else f"{status}: {code}"


def sign_up(town, line: Line, phone: str, address: str) -> tuple[str, dict]:
    seen = town.telephone.count(phone)
    result = outcome(*line.ask("/auth/v1/otp", {"phone": phone}, address))
    if result != "sent":
        return result, {}
    code = town.telephone.code(phone, seen)
    status, body = line.ask("/auth/v1/verify", {"type": "sms", "phone": phone, "token": code or "000000"}, address)
    return ("allowed", body) if status == 200 else (outcome(status, body), {})


def newcomer(town, abroad: float = 0.4):
    def act(line: Line) -> str:
        is_mainland = random.random() >= abroad
        result, _ = sign_up(town, line, new_phone(is_mainland), new_address("100.64", next(_people)))
        where = "mainland" if is_mainland else "abroad"
        return "not a number" if result == "400: validation_failed" else f"{where} {result}"
    return act


def pumper(town):
    """Asks for codes to one prefix, each time from another of 5,000 addresses, and types none."""
    turn = itertools.count()

    def act(line: Line) -> str:
        n = next(turn)
        phone = f"{PUMPED}{random.randrange(10 ** 5):05}"
        return outcome(*line.ask("/auth/v1/otp", {"phone": phone}, f"198.18.{n % 5000 // 250}.{n % 250 + 1}"))
    return act


# --- residents ------------------------------------------------------------------------------------------------


class Resident:
    def __init__(self, n: int):
        self.phone = f"{MAINLAND[n % len(MAINLAND)]}{n % 1000:03}{n:05}"
        self.address = new_address("10.20", n)
        self.session: dict = {}
        self.lock = threading.Lock()


def move_in(town, residents: list[Resident]):
    """Their accounts, before the day begins."""
    left = iter(residents)
    lock = threading.Lock()

    def act(line: Line) -> str:
        with lock:
            r = next(left, None)
        if r is None:
            time.sleep(0.2)
            return "all are in"
        result, r.session = sign_up(town, line, r.phone, r.address)
        return result
    return act


def log_in(town, residents: list[Resident]):
    turn = itertools.cycle(residents)
    lock = threading.Lock()

    def act(line: Line) -> str:
        with lock:
            r = next(turn)
        seen = town.telephone.count(r.phone)
        status, body = line.ask("/auth/v1/otp", {"phone": r.phone, "create_user": False}, r.address)
        if status != 200:
            return f"code {status}: {body.get('code')}"
        code = town.telephone.code(r.phone, seen)
        if code is None:
            return "no code came"
        for wait_s in (TYPING_S, 3.0):  # whom it does not let in types it once more
            time.sleep(wait_s)
            status, body = line.ask("/auth/v1/verify", {"type": "sms", "phone": r.phone, "token": code}, r.address)
            if status == 200:
                return "ok"
        return f"verify {status}: {body.get('code')}"
    return act


def refresh(town, residents: list[Resident]):
    turn = itertools.cycle(residents)

    def act(line: Line) -> str:
        with town.tally.lock:
            r = next(turn)
        with r.lock:
            token = r.session["refresh_token"]
            status, body = line.ask("/auth/v1/token?grant_type=refresh_token", {"refresh_token": token}, r.address)
            if status == 200:
                r.session = body
        return "ok" if status == 200 else f"{status}: {body.get('code')}"
    return act


def chat(town, residents: list[Resident]):
    turn = itertools.cycle(residents)

    def act(line: Line) -> str:
        with town.tally.lock:
            r = next(turn)
        began = time.monotonic()
        body = {"model": town.model, "max_tokens": 8, "messages": [{"role": "user", "content": "Say hi."}]}
        status, answer = line.ask("/v1/chat/completions", body, r.address, r.session["access_token"])
        town.tally.time(time.monotonic() - began)
        return "ok" if status == 200 else f"{status}: {answer.get('code') or answer.get('error', {}).get('code')}"
    return act
