"""Token ids of every tokenizer family equal the published ones: llama.cpp's own test vectors, and Hugging Face's
tokenizers for DeepSeek V3 (tests/fixtures/deepseek-v3-tokens.json says how it was made)."""
import hashlib
import json
from pathlib import Path

import pytest

from test_worker_tokens import CASES, random_texts
from tide.vocabulary import fetched, from_tokenizer_json, rows

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
FAMILIES = ["gpt-2", "llama-bpe", "llama-spm", "qwen2", "deepseek-llm", "deepseek-coder"]
BEGINS = {"llama-bpe": [128000], "llama-spm": [1], "deepseek-llm": [100000], "deepseek-coder": [32013]}


@pytest.mark.parametrize("family", FAMILIES)
def test_published_vectors(family):
    model = fetched(f"ggml-vocab-{family}.gguf")
    texts = Path(f"{model}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    expected = [[int(i) for i in line.split()] for line in Path(f"{model}.out").read_text().split("\n")[:len(texts)]]
    assert len(texts) == len(expected) > 40
    for text, ids, wanted in zip(texts, rows(model, [{"prompt": t} for t in texts]), expected):
        begin = BEGINS.get(family, [])
        assert ids == begin + wanted, repr(text)


def test_deepseek_v3(tmp_path):
    source = fetched("deepseek-v3/tokenizer.json")
    fixture = json.loads((FIXTURES / "deepseek-v3-tokens.json").read_text())
    assert fixture["cases"] == len(CASES)
    model = from_tokenizer_json(source, "deepseek-v3", tmp_path / "v3.gguf")
    found = rows(model, [{"prompt": t} for t in CASES + random_texts()])
    for text, ids, wanted in zip(CASES, found, fixture["ids"]):
        assert ids == wanted, repr(text[:80])
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest() == fixture["sha256_of_all"]
