"""tide-worker from outside: the OpenAI dialect, many requests at once, clients that leave, bad input, its end."""
import concurrent.futures
import json
import os
import random
import signal
import socket

import gguf
import httpx
import openai
import pytest

from tide.process import wait_until
from tide.stack import model_file
from tide.worker import ALIAS, Worker, chunks, events, tool


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with Worker(tmp_path_factory.mktemp("w"), "--slots", "8", "--context", "512") as w:
        yield w


# --- answers -----------------------------------------------------------------------------------------------------

def test_whole_answer(worker):
    answer = worker.chat("Say hello.", max_tokens=12, temperature=0).json()
    assert answer["object"] == "chat.completion" and answer["model"] == ALIAS
    choice, usage = answer["choices"][0], answer["usage"]
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"]
    assert choice["finish_reason"] in ("stop", "length")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 12


def test_stream_has_vllm_shape(worker):
    fields = {"max_tokens": 10, "temperature": 0}
    whole = worker.chat("Count to five.", **fields).json()
    body = {"model": ALIAS, "messages": [{"role": "user", "content": "Count to five."}], "stream": True,
            "stream_options": {"include_usage": True}, **fields}
    with worker.http.stream("POST", "/v1/chat/completions", json=body) as r:
        assert r.status_code == 200 and r.headers["content-type"].startswith("text/event-stream")
        got = chunks(r)
    first, middle, finish, usage = got[0], got[1:-2], got[-2], got[-1]
    assert {c["object"] for c in got} == {"chat.completion.chunk"} and len({c["id"] for c in got}) == 1
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(c["choices"][0]["delta"]["content"] for c in middle) == whole["choices"][0]["message"]["content"]
    assert all(c["choices"][0]["finish_reason"] is None for c in [first, *middle])
    assert finish["choices"][0]["delta"] == {}
    assert finish["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    cached = usage["usage"].pop("prompt_tokens_details")["cached_tokens"]
    assert cached % 16 == 0 and 16 <= cached < whole["usage"]["prompt_tokens"]  # the same prompt a moment ago
    del whole["usage"]["prompt_tokens_details"]
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]


def test_a_second_turn_computes_only_what_is_new(worker):
    """Of one tenant's chat, the first turn is found again; another tenant's same words are not; answers are the same."""
    turns = [{"role": "user", "content": "Tell me of tides, gates and rivers. " * 8}]

    def ask(tenant: str, **salt) -> dict:
        body = {"model": ALIAS, "messages": turns, "max_tokens": 20, "temperature": 0, **salt}
        return worker.http.post("/v1/chat/completions", json=body, headers={"x-tide-tenant": tenant}).json()

    def cached(answer: dict) -> int:
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    hits = worker.metric("vllm:prefix_cache_hits_total")
    first = ask("alice")
    assert cached(first) == 0
    turns += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
    second, others, salted = ask("alice"), ask("bob"), ask("alice", cache_salt="x")
    assert cached(second) >= first["usage"]["prompt_tokens"] // 16 * 16
    assert cached(others) == cached(salted) == 0
    assert second["choices"] == others["choices"] == salted["choices"]
    assert worker.metric("vllm:prefix_cache_hits_total") - hits == cached(second)


def test_more_answers_than_the_cache_holds(tmp_path):
    """Eight answers where blocks suffice for two and a half: they wait and give way, and all come whole."""
    with Worker(tmp_path, "--slots", "8", "--context", "256", "--kv-tokens", "640") as small:
        def ask(i: int) -> str:
            body = {"prompt": [1000 + i] * 40, "max_tokens": 200, "temperature": 0, "ignore_eos": True}
            return small.http.post("/v1/completions", json=body).json()["choices"][0]["text"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(pool.map(ask, range(8)))
        assert small.metric("vllm:num_preemptions_total") > 0
        assert together == [ask(i) for i in range(8)]
        wait_until(lambda: small.metric("vllm:kv_cache_usage_perc") == 0, 20, "every block is free")


def test_an_answer_past_its_time_ends_with_an_error(tmp_path):
    with Worker(tmp_path, "--context", "4096", "--request-timeout", "2s") as hasty:
        body = {"prompt": [1000], "max_tokens": 4000, "ignore_eos": True}
        answer = hasty.http.post("/v1/completions", json=body)
        assert answer.status_code == 504 and answer.json()["error"]["code"] == "answer_timeout"
        assert hasty.metric('vllm:request_success_total{finished_reason="timeout"}') == 1


def test_logprobs_are_the_models_own(worker, tmp_path):
    """Of each token and the best at its place, untouched by temperature and bias; as the diagnostic tool computes them."""
    prompt = [504, 3575, 282, 4649, 314]
    answer = worker.complete(prompt, max_tokens=6, temperature=0.3, seed=3, logprobs=4, logit_bias={"0": -100}).json()
    said = answer["choices"][0]["logprobs"]
    tokens = worker.http.post("/tokenize", json={"prompt": answer["choices"][0]["text"]}).json()["tokens"]
    assert len(said["tokens"]) == 6 and "".join(said["tokens"]) == answer["choices"][0]["text"]
    assert said["text_offset"] == [len("".join(said["tokens"][:i])) for i in range(6)]
    assert len(tokens) == 6, "or the lines below compare other tokens"
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps(prompt + tokens))
    lines = tool("logits", "--model", model_file(), "--tokens", ids, "--top", 4).stdout.splitlines()
    for i, token in enumerate(tokens):
        place = json.loads(lines[len(prompt) - 1 + i])
        exact = {id: logit - place["log_sum"] for id, logit in place["top"]}
        assert sorted(said["top_logprobs"][i].values(), reverse=True) == pytest.approx(list(exact.values()), abs=1e-3)
        if token in exact:
            assert said["token_logprobs"][i] == pytest.approx(exact[token], abs=1e-3)


def test_logprobs_of_a_chat(worker):
    """The openai client reads them, streamed and whole alike; bytes are the answer's."""
    client = openai.OpenAI(base_url=worker.url + "/v1", api_key="none", max_retries=0)
    ask = {"model": ALIAS, "messages": [{"role": "user", "content": "Write \u6f6e and \U0001f30a."}], "max_tokens": 12,
           "temperature": 0, "logprobs": True, "top_logprobs": 2, "extra_body": {"ignore_eos": True}}
    whole = client.chat.completions.create(**ask).choices[0]
    streamed = [c.choices[0] for c in client.chat.completions.create(**ask, stream=True)]
    content = [t for c in streamed if c.logprobs for t in c.logprobs.content]
    assert content == whole.logprobs.content and len(content) == 12
    assert bytes(b for t in content for b in t.bytes).decode(errors="replace") == whole.message.content
    for t in content:
        assert t.logprob <= t.top_logprobs[0].logprob <= 0 and len(t.top_logprobs) == 2
        assert t.token == t.top_logprobs[0].token  # greedy


def test_tokens_that_show_alike_are_one_name(worker):
    """After the first part of an emoji the likely tokens are other parts, which all show as U+FFFD."""
    prompt = worker.http.post("/tokenize", json={"prompt": "\U0001f30a\U0001f30b\U0001f30d\U0001f30e\U0001f600" * 4}).json()["tokens"][:-1]
    answer = worker.complete(prompt, max_tokens=4, temperature=0, logprobs=20)
    repeated = []

    def names(pairs):
        repeated.extend(name for name, _ in pairs if [n for n, _ in pairs].count(name) > 1)
        return dict(pairs)
    said = json.loads(answer.content, object_pairs_hook=names)["choices"][0]["logprobs"]
    assert repeated == [] and any("\ufffd" in top and len(top) < 20 for top in said["top_logprobs"]), said


def test_logprobs_do_not_wait_for_text(worker):
    """An answer of nothing but end tokens has no text; its events stay as small as others'."""
    end = 2  # <|im_end|>
    body = {"model": ALIAS, "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 120, "ignore_eos": True,
            "logprobs": True, "top_logprobs": 20, "logit_bias": {str(end): 100}}
    with worker.http.stream("POST", "/v1/chat/completions", json=body) as r:
        lines = list(r.iter_lines())
    told = [len(c["choices"][0]["logprobs"]["content"]) for c in (json.loads(line[6:]) for line in lines if line.startswith("data: {"))
            if c["choices"] and c["choices"][0].get("logprobs")]
    assert sum(told) == 120 and max(told) <= 4 and max(map(len, lines)) < 16384


def test_json_answers_are_json(worker):
    """Whatever the model would rather say, and however it is sampled: an answer that ends by itself is one object."""
    ended = 0
    for seed in range(8):
        ask = ["Describe a tide gate as JSON.", "Three rivers and their lengths, as a JSON object.", "Hello!"][seed % 3]
        answer = worker.chat(ask, max_tokens=200, temperature=1.0 if seed % 2 else 0.2, seed=seed,
                             response_format={"type": "json_object"}).json()
        choice = answer["choices"][0]
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)
            ended += 1
        else:
            assert choice["finish_reason"] == "length" and choice["message"]["content"].lstrip().startswith("{")
    assert ended >= 3


def test_openai_client(worker):
    client = openai.OpenAI(base_url=worker.url + "/v1", api_key="none", max_retries=0)
    assert [m.id for m in client.models.list()] == [ALIAS]
    messages = [{"role": "user", "content": "Hi"}]
    whole = client.chat.completions.create(model=ALIAS, messages=messages, max_completion_tokens=5, temperature=0)
    stream = client.chat.completions.create(model=ALIAS, messages=messages, max_tokens=5, temperature=0, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == whole.choices[0].message.content
    text = client.completions.create(model=ALIAS, prompt="One, two,", max_tokens=4, temperature=0)
    assert text.choices[0].text and text.usage.completion_tokens == 4
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=messages)
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=ALIAS, messages=messages, temperature=3)
    assert error.value.param == "temperature"


def test_prompt_as_tokens(worker):
    prompt = "The quick brown fox"
    ids = worker.tokens(prompt)
    a, b, c = (worker.complete(p, max_tokens=6, temperature=0).json()["choices"][0]["text"]
               for p in (prompt, ids, [prompt]))
    assert a == b == c


def test_stop_strings(worker):
    prompt, fields = "1, 2, 3, 4, 5, 6, 7, 8,", {"max_tokens": 30, "temperature": 0}
    free = worker.complete(prompt, **fields).json()["choices"][0]
    assert " 12" in free["text"] and free["finish_reason"] == "length"
    for stop in (" 12", ["zzz", ", 12"], "1, 12"):
        cut = worker.complete(prompt, stop=stop, **fields).json()
        words = [stop] if isinstance(stop, str) else stop
        assert cut["choices"][0]["finish_reason"] == "stop"
        assert cut["choices"][0]["text"] == free["text"][:min(free["text"].index(s) for s in words if s in free["text"])]
        with worker.http.stream("POST", "/v1/completions", json={
                "model": ALIAS, "prompt": prompt, "stop": stop, "stream": True, **fields}) as r:
            assert "".join(c["choices"][0]["text"] for c in chunks(r)) == cut["choices"][0]["text"]


def test_emoji_are_never_cut(worker):
    """Every event of a stream is UTF-8 of its own, though a character may take three tokens."""
    body = {"model": ALIAS, "prompt": "\U0001f600\U0001f680\u4f60\u597d\U0001f468" * 8, "max_tokens": 60,
            "temperature": 0, "stream": True}
    with worker.http.stream("POST", "/v1/completions", json=body) as r:
        text = "".join(c["choices"][0]["text"] for c in chunks(r))
    assert text == worker.complete(body["prompt"], max_tokens=60, temperature=0).json()["choices"][0]["text"]


# --- many at once ------------------------------------------------------------------------------------------------

def sampled(worker, i):
    answer = worker.complete(f"Story number {i}: " + "once " * (7 * i), max_tokens=24, temperature=0.9, top_p=0.95,
                             seed=1000 + i, ignore_eos=True).json()
    return answer["choices"][0]["text"]


def test_eight_at_once_say_what_each_says_alone(worker):
    alone = [sampled(worker, i) for i in range(8)]
    steps = worker.metric("tide_worker_steps_total")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: sampled(worker, i), range(8)))
    assert together == alone
    assert len(set(alone)) == 8
    assert worker.metric("tide_worker_steps_total") - steps < 8 * 24  # they shared batches


def test_more_requests_than_slots(worker):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda i: worker.chat(f"Word {i}", max_tokens=4, seed=i), range(20)))
    assert [a.status_code for a in answers] == [200] * 20


def test_seeds(worker):
    def text(seed):
        return worker.complete("A", max_tokens=16, temperature=1.5, seed=seed).json()["choices"][0]["text"]

    assert text(5) == text(5) != text(6)


class Endless:
    """A stream that runs; close() leaves it. (The generator is kept: its end would close the response.)"""

    def __init__(self, worker):
        body = {"model": ALIAS, "prompt": "x", "max_tokens": 500, "ignore_eos": True, "stream": True}
        self.response = worker.http.send(worker.http.build_request("POST", "/v1/completions", json=body), stream=True)
        self.events = events(self.response)
        assert next(self.events)

    def close(self):
        self.response.close()


def test_a_client_that_leaves_frees_its_slot(worker):
    before = worker.metric('vllm:request_success_total{finished_reason="abort"}')
    for _ in range(3):
        streams = [Endless(worker) for _ in range(8)]
        wait_until(lambda: worker.metric("vllm:num_requests_running") == 8, 20, "eight run")
        for stream in streams:
            stream.close()
        wait_until(lambda: worker.metric("vllm:num_requests_running") == 0, 10, "none runs")
    assert worker.metric('vllm:request_success_total{finished_reason="abort"}') == before + 24
    assert worker.metric("vllm:kv_cache_usage_perc") == 0


def test_a_waiting_client_that_leaves(tmp_path):
    with Worker(tmp_path, "--slots", "1", "--context", "512", "--queue", "2") as w:
        running = Endless(w)
        waiting = []
        for _ in range(2):
            s = socket.create_connection(("127.0.0.1", w.port))
            body = json.dumps({"prompt": "x", "max_tokens": 5}).encode()
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            waiting.append(s)
        wait_until(lambda: w.metric("vllm:num_requests_waiting") == 2, 20, "two wait")
        full = w.complete("x", max_tokens=5)
        assert full.status_code == 503 and full.json()["error"]["code"] == "queue_full" and full.headers["retry-after"]
        for s in waiting:
            s.close()
        wait_until(lambda: w.metric("vllm:num_requests_waiting") == 0, 20, "none waits")
        running.close()
        assert w.complete("x", max_tokens=5).status_code == 200


def test_a_client_that_does_not_read_stalls_nobody(worker):
    s = socket.create_connection(("127.0.0.1", worker.port))
    body = json.dumps({"prompt": "x", "max_tokens": 500, "ignore_eos": True, "stream": True}).encode()
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert worker.chat("Hi", max_tokens=4).status_code == 200
    s.close()
    wait_until(lambda: worker.metric("vllm:num_requests_running") == 0, 60, "none runs")


# --- bad input ---------------------------------------------------------------------------------------------------

CHAT = {"messages": [{"role": "user", "content": "x"}]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
REFUSED = [
    ({"messages": []}, "messages"), ({}, "messages"), ({"messages": "x"}, "messages"), ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"role": "user"}]}, "messages[0]"), ({"messages": [{"content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
    ({**CHAT, "temperature": "hot"}, "temperature"), ({**CHAT, "temperature": -1}, "temperature"),
    ({**CHAT, "temperature": 2.5}, "temperature"), ({**CHAT, "top_p": 0}, "top_p"), ({**CHAT, "top_p": 1.1}, "top_p"),
    ({**CHAT, "top_k": 1.5}, "top_k"), ({**CHAT, "min_p": 2}, "min_p"), ({**CHAT, "seed": "a"}, "seed"),
    ({**CHAT, "max_tokens": 0}, "max_tokens"), ({**CHAT, "max_tokens": -5}, "max_tokens"),
    ({**CHAT, "max_completion_tokens": "9"}, "max_completion_tokens"), ({**CHAT, "n": 2}, "n"), ({**CHAT, "n": 0}, "n"),
    ({**CHAT, "stream": "yes"}, "stream"), ({**CHAT, "stream_options": 1}, "stream_options"),
    ({**CHAT, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"), ({**CHAT, "stop": 5}, "stop"),
    ({**CHAT, "cache_salt": ""}, "cache_salt"),
    ({**CHAT, "stop": [""]}, "stop"), ({**CHAT, "stop": ["a"] * 17}, "stop"), ({**CHAT, "stop": "x" * 600}, "stop"),
    ({**CHAT, "presence_penalty": 3}, "presence_penalty"), ({**CHAT, "frequency_penalty": []}, "frequency_penalty"),
    ({**CHAT, "logprobs": 1}, "logprobs"), ({**CHAT, "top_logprobs": 5}, "top_logprobs"),
    ({**CHAT, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({**CHAT, "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, "response_format.type"),
    ({**CHAT, "response_format": {"type": "xml"}}, "response_format.type"), ({**CHAT, "response_format": "json"}, "response_format"),
    ({**CHAT, "logit_bias": [1]}, "logit_bias"), ({**CHAT, "logit_bias": {"x": 1}}, "logit_bias"),
    ({**CHAT, "logit_bias": {"99999999": 1}}, "logit_bias"), ({**CHAT, "logit_bias": {"5": 101}}, "logit_bias"),
    ({**CHAT, "model": 7}, "model"), ({**CHAT, "tools": [WEATHER]}, "tools"), ({**CHAT, "tools": {}}, "tools"),
    ({**CHAT, "tools": [WEATHER], "tool_choice": "auto"}, "tools"), ({**CHAT, "tools": [], "tool_choice": "required"}, "tool_choice"),
    ({**CHAT, "tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, "tool_choice"),
    ({**CHAT, "functions": [{"name": "f"}]}, "functions"), ({**CHAT, "functions": [], "function_call": {"name": "f"}}, "function_call"),
    ({**CHAT, "best_of": 2}, "best_of"), ({**CHAT, "suffix": "}"}, "suffix"), ({**CHAT, "min_tokens": 1}, "min_tokens"),
    ({**CHAT, "modalities": ["text", "audio"]}, "modalities"), ({**CHAT, "prompt_logprobs": 0}, "prompt_logprobs"),
    ({**CHAT, "guided_json": {}}, "guided_json"), ({**CHAT, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
    ({**CHAT, "add_generation_prompt": False}, "add_generation_prompt"), ({**CHAT, "continue_final_message": True}, "continue_final_message"),
    ({**CHAT, "repeat_penalty": 0}, "repeat_penalty"), ({**CHAT, "repeat_penalty": 1, "repetition_penalty": 1}, "repeat_penalty"),
    ({**CHAT, "repetition_penalty": 0}, "repetition_penalty"), ({**CHAT, "stop_token_ids": 2}, "stop_token_ids"),
    ({**CHAT, "stop_token_ids": [99999999]}, "stop_token_ids"), ({**CHAT, "stop_token_ids": [2] * 17}, "stop_token_ids"),
    ({"messages": [{"role": "assistant"}]}, "messages[0]"), ({"messages": [{"role": "assistant", "tool_calls": None}]}, "messages[0]"),
    ({"messages": [{"role": "user", "tool_calls": []}]}, "messages[0]"),
]


@pytest.mark.parametrize("body, param", REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_impossible_parameters(worker, body, param):
    answer = worker.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param and param.split("[")[0].split(".")[0] in error["message"]
    assert error["type"] == "invalid_request_error" and error["code"]


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'{"messages":[{"role":"user","content":"\\u0000"}]}', b'{"a":1,"a":2}', b"\xff\xfe",
    b'{"messages":[{"role":"user","content":"\\ud800"}]}', b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"x":{' + b",".join(b'"k%d":1' % i for i in range(70000)) + b"}}",
], ids=range(10))
def test_malformed_json(worker, body):
    answer = worker.http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["message"], answer.text


def test_unknown_fields_and_nulls_are_ignored(worker):
    answer = worker.http.post("/v1/chat/completions", json={
        **CHAT, "max_tokens": 2, "user": "u", "metadata": {"a": 1}, "stop": None, "temperature": None, "n": 1,
        "stream_options": None, "response_format": {"type": "text"}, "top_k": -1, "tools": []})
    assert answer.status_code == 200, answer.text


def test_fields_that_wish_for_nothing(worker):
    answer = worker.http.post("/v1/chat/completions", json={
        **CHAT, "max_tokens": 2, "best_of": 1, "suffix": "", "min_tokens": 0, "repetition_penalty": 1.0, "stop_token_ids": [],
        "bad_words": [], "use_beam_search": False, "add_generation_prompt": True, "continue_final_message": False,
        "guided_json": None, "modalities": ["text"], "prompt_logprobs": None})
    assert answer.status_code == 200, answer.text


def test_stop_tokens_and_repetitions(worker):
    """A stop token ends an answer unseen; who pays for repetitions says nothing twice, and nothing of the prompt."""
    body = {"prompt": worker.tokens("one two one two one two one two"), "temperature": 0, "max_tokens": 24, "ignore_eos": True}
    plain = worker.complete(**body).json()["choices"][0]["text"]
    assert plain.count("-") > 2 and plain.count(" two") > 2, plain
    stopped = worker.complete(**body, stop_token_ids=worker.tokens("-")).json()
    assert stopped["choices"][0]["text"] == plain.split("-")[0] and stopped["choices"][0]["finish_reason"] == "stop"
    for name in ("repetition_penalty", "repeat_penalty"):
        varied = worker.complete(**body, **{name: 10}, logprobs=0).json()["choices"][0]["logprobs"]["tokens"]
        assert len(set(varied)) == 24 and not {" one", " two", "one"} & set(varied), varied


def test_functions_that_shall_not_be_called_and_turns_that_called_some(worker):
    client = openai.OpenAI(base_url=worker.url + "/v1", api_key="none", max_retries=0)
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    talk = [{"role": "user", "content": "Rain?"}, {"role": "assistant", "tool_calls": [call]}, {"role": "user", "content": "Well?"}]
    told = client.chat.completions.create(model=ALIAS, messages=talk, tools=[WEATHER], tool_choice="none", max_tokens=2)
    talk[1]["content"] = ""
    assert told.usage.prompt_tokens == client.chat.completions.create(model=ALIAS, messages=talk, max_tokens=2).usage.prompt_tokens
    assert worker.http.post("/v1/chat/completions", json={**CHAT, "tool_choice": "auto", "max_tokens": 2}).status_code == 200


def test_prompts_past_the_context(worker):
    ids = [35] * 500
    answer = worker.complete(ids, max_tokens=13)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["code"] == "context_length_exceeded" and error["param"] == "prompt"
    assert "512 tokens" in error["message"] and "513 tokens (500 in the prompt, 13 in the completion)" in error["message"]
    whole = worker.complete(ids, max_tokens=12, ignore_eos=True).json()
    assert whole["usage"] == {"prompt_tokens": 500, "completion_tokens": 12, "total_tokens": 512,
                              "prompt_tokens_details": {"cached_tokens": 0}}
    rest = worker.complete(ids, ignore_eos=True).json()  # no max_tokens: what the context leaves
    assert rest["usage"]["completion_tokens"] == 12 and rest["choices"][0]["finish_reason"] == "length"
    million = worker.chat("word " * 200_000)
    assert million.status_code == 400 and "200" in million.json()["error"]["message"]
    assert worker.http.post("/tokenize", json={"prompt": "word " * 200_000}).json()["count"] > 200_000


def test_a_long_text_holds_up_nobody(worker):
    """One word of a megabyte is the slowest there is; it is refused with its length, and others are served meanwhile."""
    word = "".join(random.Random(5).choices("abcdefghijklmnopqrstuvwxyz", k=1 << 20))
    served = 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        refused = pool.submit(worker.complete, word)
        while not refused.done():
            assert worker.http.get("/health").status_code == 200
            served += 1
    error = refused.result().json()["error"]
    assert error["code"] == "context_length_exceeded" and f"({len(worker.tokens(word))} in the prompt" in error["message"]
    assert served > 10


def test_bodies_past_the_limit(tmp_path):
    with Worker(tmp_path, "--slots", "1", "--context", "64", "--body-limit", "64KiB") as w:
        answer = w.complete("x" * 70_000)
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "payload_too_large"
        assert w.complete("x", max_tokens=1).status_code == 200


def test_text_past_the_limit(tmp_path):
    """Before a token is made of it, wherever it stands, and however it is cut."""
    with Worker(tmp_path, "--slots", "1", "--context", "64", "--text-limit", "2KiB") as w:
        half = [{"role": "user", "content": "x" * 1025}, {"role": "assistant", "content": [{"type": "text", "text": "y" * 1025}]}]
        refused = (w.complete("x" * 2049), w.http.post("/v1/chat/completions", json={"model": ALIAS, "messages": half}),
                   w.http.post("/tokenize", json={"prompt": "\u00e9" * 1025}))
        for answer, field in zip(refused, ("prompt", "messages", "prompt")):
            error = answer.json()["error"]
            assert answer.status_code == 400 and error["param"] == field, answer.text
            assert "of text, more than the 2048 that are read" in error["message"]
        assert w.http.post("/tokenize", json={"prompt": "x" * 2048}).status_code == 200
        assert 'tide_worker_requests_refused_total{reason="text_limit"} 3\n' in w.http.get("/metrics").text


def test_wrong_paths_and_methods(worker):
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/health", 405),
                                 ("GET", f"/v1/models/{ALIAS}", 200), ("GET", "/v1/models/other", 404),
                                 ("GET", "/v1/models/%73mollm2", 200)):
        assert worker.http.request(method, path).status_code == status, path
    assert worker.http.post("/tokenize", json={"prompt": 5}).status_code == 400
    for tokens in ([49152], [-1], ["a"], 5, [1.5]):
        assert worker.http.post("/detokenize", json={"tokens": tokens}).status_code == 400


# --- life --------------------------------------------------------------------------------------------------------

def test_what_it_says_of_itself(worker):
    assert worker.http.get("/health").json() == {"status": "ok"}
    model = worker.http.get("/v1/models").json()["data"][0]
    assert model["max_model_len"] == 512 and model["meta"]["n_vocab"] == 49152 and model["meta"]["chat"] is True
    text = worker.http.get("/metrics").text
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prompt_tokens_total",
                 "generation_tokens_total", "request_success_total", "time_to_first_token_seconds_count",
                 "inter_token_latency_seconds_count", "e2e_request_latency_seconds_count"):
        assert f"\nvllm:{name}" in text


def test_api_key_and_unix_socket(tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    key.chmod(0o600)
    refused = tool("--model", model_file(), "--listen", "0.0.0.0:0", check=False)
    assert refused.returncode == 2 and b"--api-key-file" in refused.stderr
    with Worker(tmp_path, "--slots", "1", "--context", "64", "--api-key-file", str(key)) as w:
        for header, status in ((None, 401), ("Bearer wrong", 401), ("Bearer s3cret", 200), ("bearer s3cret", 200)):
            headers = {"authorization": header} if header else {}
            assert w.http.get("/v1/models", headers=headers).status_code == status
        assert w.http.get("/health").status_code == 200
    path = tmp_path / "w.sock"
    with Worker(tmp_path, "--slots", "1", "--context", "64", name="unix") as w:
        w.stop()
        w.command[w.command.index("--listen") + 1] = f"unix:{path}"
        w.start()
        client = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://w")
        wait_until(lambda: client.get("/health").status_code == 200, 60, "healthy on its socket")
        assert client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2}).status_code == 200
        assert path.stat().st_mode & 0o077 == 0


def test_term_drains_sixteen_streams(tmp_path):
    w = Worker(tmp_path, "--slots", "8", "--context", "128", "--drain", "5m")
    with w, concurrent.futures.ThreadPoolExecutor(16) as pool:
        def run(i):
            body = {"model": ALIAS, "prompt": "x", "max_tokens": 60, "ignore_eos": True, "stream": True, "seed": i}
            with w.http.stream("POST", "/v1/completions", json=body) as r:
                return chunks(r)

        futures = [pool.submit(run, i) for i in range(16)]
        wait_until(lambda: w.metric("vllm:num_requests_running") + w.metric("vllm:num_requests_waiting") == 16, 60, "16")
        os.kill(w.pid, signal.SIGTERM)
        for future in futures:
            assert future.result()[-1]["choices"][0]["finish_reason"] == "length"
        assert w.child.wait(60) == 0


def test_memory_returns_after_ten_thousand_canceled_requests(tmp_path):
    with Worker(tmp_path, "--slots", "4", "--context", "128") as w:
        body = json.dumps({"prompt": "hello there", "max_tokens": 100, "stream": True}).encode()
        request = b"POST /v1/completions HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

        def leave(times):
            for _ in range(times):
                s = socket.create_connection(("127.0.0.1", w.port))
                s.sendall(request)
                s.close()
            wait_until(lambda: w.metric("vllm:num_requests_running") + w.metric("vllm:num_requests_waiting") == 0, 120, "idle")

        leave(300)
        memory, files = w.rss_kb(), w.open_files()
        for _ in range(2000):  # those that leave before the engine has them, or find its queue full, are not counted
            leave(60)
            if w.metric('vllm:request_success_total{finished_reason="abort"}') >= 10_000:
                break
        else:
            pytest.fail("the engine did not get ten thousand of them")
        wait_until(lambda: w.metric("vllm:kv_cache_usage_perc") == 0, 20, "every block is free")
        wait_until(lambda: w.open_files() <= files + 2, 20, "descriptors are back")
        assert w.rss_kb() < memory + 24_000  # the KV cache's pages were touched before
        wait_until(lambda: w.complete("x", max_tokens=2).status_code == 200, 30, "connections that left unseen are done with")


# --- models that cannot be served --------------------------------------------------------------------------------

def failing(path):
    done = tool("--model", path, "--listen", "127.0.0.1:0", check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr.decode(errors="replace")


def test_broken_model_files(tmp_path):
    data = model_file().read_bytes()
    path = tmp_path / "broken.gguf"
    cases = [(b"", "bytes, less than a header"), (b"nonsense" * 100, "does not start with GGUF"),
             (data[:1_000_000], "ends inside"), (data[:50_000_000], "past the end of the file"),
             (data[:8] + b"\xff" * 16 + data[24:200_000], "key-value pairs")]
    for content, reason in cases:
        path.write_bytes(content)
        assert reason in failing(path)
    assert "cannot open" in failing(tmp_path / "none.gguf")
    assert "config.json: No such file" in failing(tmp_path)  # a folder is a model of safetensors
    assert "not a regular file" in failing("/dev/null")


def test_weights_that_are_no_numbers_make_no_answers(tmp_path):
    """One damaged scale spreads to all logits: no empty answer that looks whole, however it is chosen."""
    damaged = tmp_path / "damaged.gguf"
    content = bytearray(model_file().read_bytes())
    weights = next(t for t in gguf.GGUFReader(model_file()).tensors if t.name == "blk.5.ffn_down.weight")
    content[weights.data_offset:weights.data_offset + 2] = b"\0\x7e"  # the f16 of the first block: not a number
    damaged.write_bytes(content)
    with Worker(tmp_path, "--packed-dir", "none", model=damaged) as w:
        for fields in ({}, {"temperature": 0}, {"stream": True}, {"temperature": 0, "logprobs": True},
                       {"response_format": {"type": "json_object"}}, {"top_k": 5}):
            answer = w.chat("Hi", max_tokens=3, **fields)
            assert answer.status_code == 500 and answer.json()["error"]["code"] == "internal_error", answer.text
        assert w.metric('vllm:request_success_total{finished_reason="error"}') == 6
        assert "no logit is a number" in w.tail()


def test_unknown_chat_template_is_refused_with_its_text(tmp_path):
    data = model_file().read_bytes()
    at = data.index(b"{% for message in messages %}")
    path = tmp_path / "template.gguf"
    path.write_bytes(data[:at] + b"{% for messagX in messages %}" + data[at + 29:])
    text = failing(path)
    assert "chat template" in text and "messagX" in text and os.path.getsize(path) == len(data)
    assert gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents().startswith("{% for messagX")
