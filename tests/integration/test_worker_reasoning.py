"""A model whose template opens <think>: its answer begins with reasoning, which is told apart from the content."""
import subprocess
import sys

import pytest

from tide.stack import model_file
from tide.vocabulary import fetched
from tide.worker import ALIAS, Worker, chunks


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    """SmolLM2 with the template of QwQ: the same markers, and <think> at the end of the prompt."""
    folder = tmp_path_factory.mktemp("thinker")
    template, model = fetched("templates/Qwen-QwQ-32B.jinja").read_bytes().decode(), folder / "thinker.gguf"
    subprocess.run([sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force", "--chat-template", template,
                    str(model_file()), str(model)], check=True, capture_output=True, timeout=300)
    with Worker(folder, "--slots", "2", "--context", "512", model=model) as worker:
        yield worker


def test_reasoning_comes_first(thinker):
    answer = thinker.chat("What is two and two?", max_tokens=8, temperature=0).json()
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"] and message["content"] == ""
    assert answer["usage"]["completion_tokens"] == 8
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 8}


def test_a_stream_says_the_same(thinker):
    whole = thinker.chat("What is two and two?", max_tokens=8, temperature=0).json()["choices"][0]["message"]
    body = {"model": ALIAS, "messages": [{"role": "user", "content": "What is two and two?"}], "max_tokens": 8,
            "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    with thinker.http.stream("POST", "/v1/chat/completions", json=body) as response:
        events = chunks(response)
    deltas = [e["choices"][0]["delta"] for e in events if e["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(d.get("reasoning_content", "") for d in deltas) == whole["reasoning_content"]
    assert not any(d.get("content") for d in deltas)
    assert events[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 8}


@pytest.mark.parametrize("switch", [{"chat_template_kwargs": {"enable_thinking": False}}, {"thinking": {"type": "disabled"}},
                                    {"response_format": {"type": "json_object"}}])
def test_thinking_can_be_switched_off(thinker, switch):
    answer = thinker.chat("Say hello in JSON.", max_tokens=8, temperature=0, **switch).json()
    message = answer["choices"][0]["message"]
    assert message["content"] and "reasoning_content" not in message
    assert "completion_tokens_details" not in answer["usage"]


@pytest.mark.parametrize("fields, param, words", [
    ({"thinking": "yes"}, "thinking", "enabled or disabled"),
    ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs", "true or false"),
    ({"chat_template_kwargs": []}, "chat_template_kwargs", "an object"),
    ({"chat_template_kwargs": {"enable_thinking": True}, "response_format": {"type": "json_object"}}, "response_format",
     "cannot be held to JSON"),
])
def test_wishes_that_cannot_be_met(thinker, fields, param, words):
    answer = thinker.chat("Hi", max_tokens=2, **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param and words in answer.json()["error"]["message"]


def test_a_model_that_does_not_think(tmp_path):
    with Worker(tmp_path, "--slots", "1", "--context", "256") as worker:
        answer = worker.chat("Hi", max_tokens=2, thinking={"type": "enabled"})
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "thinking"
        plain = worker.chat("Hi", max_tokens=2, thinking={"type": "disabled"}).json()
        assert "completion_tokens_details" not in plain["usage"]
