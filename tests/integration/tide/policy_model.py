"""The sign-up policy's language once more, written from its description alone: what C decides must be what this decides."""
import base64
import datetime
import hashlib
import hmac
import json
from pathlib import Path

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ZONES = {"UTC": 0, "Asia/Shanghai": 8, "Asia/Tokyo": 9}
UNKNOWN = None  # neither True nor False


def ramp_of(ring: Path, method: str, identifier: str) -> int:
    keys = json.loads(ring.read_text())["keys"]
    secret = next(base64.b64decode(k["secret"]) for k in keys if k["use"] == "ramp" and k["state"] == "active")
    return int.from_bytes(_hmac_of(secret, [method, identifier])[:8], "big") % 10000


def _hmac_of(secret: bytes, texts: list[str]) -> bytes:
    mac = hmac.new(secret, digestmod=hashlib.sha256)
    for text in texts:
        mac.update(len(text.encode()).to_bytes(LENGTH_BYTES, "big") + text.encode())
    return mac.digest()


LENGTH_BYTES = 8


def _version(text: str) -> list[int]:
    return ([int(part) for part in text.split(".")] + [0, 0, 0, 0])[:4]


def _zone(text: str) -> datetime.timezone:
    hours = ZONES[text] if text in ZONES else int(text[:3])
    return datetime.timezone(datetime.timedelta(hours=hours))


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _time(wanted: dict, at: datetime.datetime) -> bool:
    zone = _zone(wanted["zone"])
    local = at.astimezone(zone)
    if "from" in wanted and local < datetime.datetime.fromisoformat(wanted["from"]).replace(tzinfo=zone):
        return False
    if "until" in wanted and local >= datetime.datetime.fromisoformat(wanted["until"]).replace(tzinfo=zone):
        return False
    return "weekly" not in wanted or any(_window(window, local) for window in wanted["weekly"])


def _window(window: dict, local: datetime.datetime) -> bool:
    begin, end = _minute(window["from"]), _minute(window["until"])
    length = (end - begin) % 1440
    days = window.get("days", DAYS)
    now = local.weekday() * 1440 + local.hour * 60 + local.minute
    return any((now - DAYS.index(day) * 1440 - begin) % (7 * 1440) < length for day in days)


def _condition(name: str, wanted, a: dict) -> bool | None:
    if name == "method":
        return a["method"] in wanted
    if name == "time":
        return _time(wanted, datetime.datetime.fromisoformat(a["at"]))
    if name == "ramp_percent":
        return UNKNOWN if a["ramp"] is None else a["ramp"] < round(wanted * 100)
    if name == "phone_country_is_ip_country":
        both = "phone_country" in a and "ip_country" in a
        return (a["phone_country"] == a["ip_country"]) == wanted if both else UNKNOWN
    if name == "email_domain":
        labels = a["email"].lower().split("@")[1].split(".") if "email" in a else []
        parents = {".".join(labels[i:]) for i in range(len(labels))}
        return any(domain in parents for domain in wanted) if labels else UNKNOWN
    if name == "phone_prefix":
        return any(a["phone"].startswith(prefix) for prefix in wanted) if "phone" in a else UNKNOWN
    if name == "campaign" and name not in a and "invite" in a:
        return False
    if name not in a:
        return UNKNOWN
    if name == "app_version":
        version = _version(a["app_version"])
        return ("at_least" not in wanted or version >= _version(wanted["at_least"])) and (
            "below" not in wanted or version < _version(wanted["below"]))
    return a[name] == wanted if isinstance(wanted, bool) else a[name] in wanted


def decide(document: dict, attempt: dict) -> dict:
    """What is decided: effect, rule, reason, challenge; and the first shadow rule that matched before it."""
    shadow = None
    for rule in document["rules"]:
        conditions = dict(rule["when"])
        if "ramp_percent" in rule:
            conditions["ramp_percent"] = rule["ramp_percent"]
        missing = rule["effect"] != "allow"
        answers = (_condition(name, wanted, attempt) for name, wanted in conditions.items())
        if all(missing if answer is UNKNOWN else answer for answer in answers):
            if rule.get("shadow"):
                shadow = shadow or rule["id"]
            elif "caps" not in rule or rule["id"] not in attempt.get("caps_full", []):
                return _decision(rule, shadow)
    return _decision({**document["default"], "id": "default"}, shadow)


def _decision(rule: dict, shadow: str | None) -> dict:
    reason = "signup_waitlisted" if rule["effect"] == "waitlist" else rule.get("reason")
    return {"effect": rule["effect"], "rule": rule["id"], "reason": reason, "challenge": rule.get("challenge", "none"),
            "shadow": shadow}
