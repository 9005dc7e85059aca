"""Phone numbers beside Google's library, newer than the one we are linked with. Of the mainland: what we accept, it accepts,
and means the same by it. Elsewhere both mean the same number; whether it is assigned is told by metadata of different age.
What we refuse may be good there: it is lenient, and we refuse what we cannot prove."""
import os
import random
import subprocess

import phonenumbers

from tide.stack import BUILD

CASES = int(os.environ.get("TIDE_PHONE_CASES", "20000"))
BEHIND: tuple[str, ...] = ()  # mainland ranges of our table that the library's metadata lack: none today
TYPES = {phonenumbers.PhoneNumberType.MOBILE: "mobile", phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE: "fixed_or_mobile",
         phonenumbers.PhoneNumberType.VOIP: "voip"}
MAINLAND = "CN mobile 0"

# What people and evaders write, and what becomes of it: the canonical number, country, type and whether it is virtual.
VECTORS = {
    "13800138000": f"+8613800138000 {MAINLAND}", "+8613800138000": f"+8613800138000 {MAINLAND}",
    "8613800138000": f"+8613800138000 {MAINLAND}", "008613800138000": f"+8613800138000 {MAINLAND}",
    "0086 138 0013 8000": f"+8613800138000 {MAINLAND}", "86 138-0013-8000": f"+8613800138000 {MAINLAND}",
    "(+86)13800138000": f"+8613800138000 {MAINLAND}", "+86013800138000": f"+8613800138000 {MAINLAND}",
    "+86 0 13800138000": f"+8613800138000 {MAINLAND}", "+86(0)13800138000": f"+8613800138000 {MAINLAND}",
    "＋８６１３８００１３８０００": f"+8613800138000 {MAINLAND}", "+٨٦١٣٨٠٠١٣٨٠٠٠": "-", "+86138\u200b00138000": "-",
    "+8613800138000\n": "-", "#+8613800138000": "-", "+8613800138000 ext 5": "-", "+8613800138000;ext=5": "-",
    "+86 1380013FLOW": "-", "17951 13800138000": "-", "12593 13800138000": "-", "+868613800138000": "-", "+86+8613800138000": "-",
    "+8615412345678": "-", "+8614101234567": "-", "+8619412345678": "-", "+861064812345678": "-", "+861440012345678": "-",
    "+8617012345678": "+8617012345678 CN mobile 1", "+8617112345678": "+8617112345678 CN mobile 1",
    "+8616212345678": "+8616212345678 CN mobile 1", "+8616512345678": "+8616512345678 CN mobile 1",
    "+8616712345678": "+8616712345678 CN mobile 1", "+8619212345678": f"+8619212345678 {MAINLAND}",
    "+85251234567": "+85251234567 HK mobile 0", "+85366123456": "+85366123456 MO mobile 0",
    "+886912345678": "+886912345678 TW mobile 0", "+15551234567": "-", "++8613800138000": "-", "+0086 13800138000": "-",
    "0086 0 13800138000": f"+8613800138000 {MAINLAND}", "1234567890123456": "-", "": "-", "1" * 251: "-",
    "\u202e+8613800138000": "-", "+8613800138000\0": "-",
    "+12025550123": "+12025550123 US fixed_or_mobile 0",  # whatever address its owner has, also one in China
}


def verdicts(texts: list[str]) -> list[str]:
    lines = "".join(text.encode("utf-8", "surrogatepass").hex() + "\n" for text in texts)
    done = subprocess.run([BUILD / "tests" / "phone_verdict"], input=lines, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.splitlines()


def test_every_vector():
    assert len(VECTORS) >= 38
    assert dict(zip(VECTORS, verdicts(list(VECTORS)), strict=True)) == VECTORS


def random_number(dice: random.Random) -> str:
    digits = lambda n: "".join(dice.choice("0123456789") for _ in range(n))  # noqa: E731
    code = dice.choice(["86", "86", "86", "852", "853", "886", "1", "44", "81", "82", "65", "91", "49", str(dice.randint(1, 999))])
    national = dice.choice(["13", "14", "15", "16", "17", "18", "19", "", ""]) + digits(dice.randint(5, 11))
    if code == "86" and dice.random() < 0.7:
        national = "1" + dice.choice("3456789") + digits(9)
    text = dice.choice(["+", "+", "+", "00", ""]) + code + dice.choice(["", "", "0"]) + national
    for _ in range(dice.choice([0, 0, 0, 1, 2])):
        at = dice.randint(0, len(text))
        text = text[:at] + dice.choice([" ", "-", "(", ")", "+", ".", "x", "０", "٣", "\u200b", ";ext=5", "0"]) + text[at:]
    return text


def told_by_library(text: str) -> tuple[str, str, str] | None:
    try:
        number = phonenumbers.parse(text, "CN")
    except phonenumbers.NumberParseException:
        return None
    kind = TYPES.get(phonenumbers.number_type(number))
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return (e164, phonenumbers.region_code_for_number(number), kind) if kind else None


def test_nothing_is_accepted_that_the_library_reads_otherwise():
    dice = random.Random(int(os.environ.get("TIDE_PHONE_SEED", "5")))
    texts = [random_number(dice) for _ in range(CASES)]
    mainland = abroad = 0
    for text, verdict in zip(texts, verdicts(texts), strict=True):
        if verdict == "-":
            continue
        ours = tuple(verdict.split()[:3])
        theirs = told_by_library(text)
        if ours[0].startswith("+86") and not ours[0].startswith(BEHIND):
            mainland += 1
            assert theirs == ours, (text, verdict)
        else:
            abroad += 1
            number = phonenumbers.parse(text, "CN")
            assert phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == ours[0], (text, verdict)
            assert theirs is None or theirs[1] == ours[1], (text, verdict)
    assert mainland > CASES // 20 and abroad > CASES // 400, (mainland, abroad)
