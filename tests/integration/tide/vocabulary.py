"""Vocabularies without weights: what `tests/fetch-vocabularies` brought, and such files made here."""
import json
import subprocess
from pathlib import Path

import pytest
from gguf import GGUFWriter

from .stack import program

FETCHED = Path(__file__).resolve().parents[3] / "build" / "vocabularies"
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


def fetched(name: str) -> Path:
    path = FETCHED / name
    if not path.exists():
        pytest.skip(f"{name} is not there: tests/fetch-vocabularies could not download it")
    return path


def rows(model: Path, bodies: list) -> list:
    """Token ids of each body of /tokenize, by one run of the program."""
    lines = "".join(json.dumps(b) + "\n" for b in bodies)
    done = subprocess.run([str(program("tide-worker")), "tokens", "--model", str(model)], input=lines.encode(),
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(bodies)
    return found


def looks_special(text: str) -> bool:
    """llama.cpp's converter makes control tokens of these, whatever the tokenizer's file says."""
    return (text.startswith("<|") and text.endswith("|>")) or (text.startswith("<\uff5c") and text.endswith("\uff5c>"))


def from_tokenizer_json(path: Path, pre: str, out: Path) -> Path:
    """A GGUF file with the vocabulary of a Hugging Face byte-level BPE tokenizer."""
    spec = json.loads(path.read_text(encoding="utf-8"))
    tokens = {i: (t, NORMAL) for t, i in spec["model"]["vocab"].items()}
    for added in spec["added_tokens"]:
        text = added["content"]
        tokens[added["id"]] = (text, CONTROL if added["special"] or looks_special(text) else USER_DEFINED)
    ordered = [tokens[i] for i in range(len(tokens))]
    writer = GGUFWriter(out, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([t for t, _ in ordered])
    writer.add_token_types([k for _, k in ordered])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return out
