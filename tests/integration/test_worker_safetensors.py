"""Models as folders of safetensors: the published vocabularies split and merge as in GGUF, and SmolLM2's own layout gives
the same bits as the same model in GGUF."""
import hashlib
import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from test_worker_tokens import CASES, random_texts
from tide.published import fields_of, tokenizer_json, vocabulary_alone, write_safetensors, write_vocabulary
from tide.stack import model_file
from tide.vocabulary import fetched, rows
from tide.worker import Worker, tool

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
LAYERS = 2


@pytest.mark.parametrize("family", ["gpt-2", "llama-bpe", "qwen2", "llama-spm", "deepseek-llm", "deepseek-coder"])
def test_published_vectors(family, tmp_path):
    source = fetched(f"ggml-vocab-{family}.gguf")
    fields = fields_of(source)
    bos = fields["tokenizer.ggml.tokens"][fields["tokenizer.ggml.bos_token_id"]] if family not in ("gpt-2", "qwen2") else None
    size = len(fields["tokenizer.ggml.tokens"]) + 7  # rows of an embedding that no token has
    model = vocabulary_alone(tmp_path / "model", tokenizer_json(fields), size, bos)
    texts = Path(f"{source}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n") + CASES
    bodies = [{"prompt": t} for t in texts]
    assert rows(model, bodies) == rows(source, bodies)


def test_deepseek_v3(tmp_path):
    """The tokenizer.json that DeepSeek publishes, as it is."""
    source = json.loads(fetched("deepseek-v3/tokenizer.json").read_text(encoding="utf-8"))
    fixture = json.loads((FIXTURES / "deepseek-v3-tokens.json").read_text())
    model = vocabulary_alone(tmp_path / "model", source, 129280, None)
    found = rows(model, [{"prompt": t} for t in CASES + random_texts()])
    for text, ids, wanted in zip(CASES, found, fixture["ids"]):
        assert ids == wanted, repr(text[:80])
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest() == fixture["sha256_of_all"]


# --- SmolLM2 -----------------------------------------------------------------------------------------------------

PUBLISHED = {
    "token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight", "attn_q.weight": "self_attn.q_proj.weight", "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight", "attn_output.weight": "self_attn.o_proj.weight", "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight", "ffn_down.weight": "mlp.down_proj.weight",
}


def published(name: str) -> str:
    if not name.startswith("blk."):
        return PUBLISHED[name]
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{PUBLISHED[rest]}"


def in_halves(name: str, t: np.ndarray) -> np.ndarray:
    """llama.cpp keeps the two values that turn together side by side, transformers half a head apart."""
    heads = {"attn_q.weight": 9, "attn_k.weight": 3}.get(name.split(".", 2)[-1])
    return np.ascontiguousarray(t.reshape(heads, -1, 2, t.shape[1]).swapaxes(1, 2).reshape(t.shape)) if heads else t


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The first layers of SmolLM2 in F16, as a file and as a folder."""
    place = tmp_path_factory.mktemp("smollm2")
    fields = fields_of(model_file())
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(model_file()).tensors
               if not t.name.startswith("blk.") or int(t.name.split(".")[1]) < LAYERS}
    tensors = {name: t.astype(np.float32 if t.ndim == 1 else np.float16) for name, t in tensors.items()}
    writer = gguf.GGUFWriter(place / "smollm2.gguf", "llama")
    for name, kind in gguf.GGUFReader(model_file()).fields.items():
        if name.startswith(("llama.", "tokenizer.")):
            value = LAYERS if name == "llama.block_count" else fields[name]
            writer.add_key_value(name, value, kind.types[0], kind.types[-1] if len(kind.types) > 1 else None)
    for name, t in tensors.items():
        writer.add_tensor(name, t)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    folder = place / "smollm2"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": 576, "num_hidden_layers": LAYERS, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000, "vocab_size": 49152,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "tie_word_embeddings": True}))
    write_vocabulary(folder, tokenizer_json(fields), None, fields["tokenizer.chat_template"])
    write_safetensors(folder / "model.safetensors", {published(n): in_halves(n, t) for n, t in tensors.items()})
    yield place / "smollm2.gguf", folder
    shutil.rmtree(place)


def test_the_same_bits_as_in_gguf(both, tmp_path):
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps([1, 504, 3575, 282, 4649, 314] + list(range(2000, 2060))))
    told = [tool("logits", "--model", m, "--tokens", ids, "--top", "20").stdout for m in both]
    assert len(told[0].splitlines()) == 66 and told[0] == told[1]


def test_the_same_tokens_as_in_gguf(both):
    bodies = [{"prompt": t} for t in CASES] + [{"messages": [{"role": "user", "content": t}]} for t in CASES]
    assert rows(both[0], bodies) == rows(both[1], bodies)


def test_inspect_tells_what_the_folder_holds(both):
    told = tool("inspect", both[1]).stdout.decode()
    assert 'string   general.architecture = "llama"' in told and "u32      llama.block_count = 2" in told
    assert "F16        56623104  token_embd.weight [576, 49152]" in told and "20 tensors" in told
    assert f"{both[1]}: {(both[1] / 'model.safetensors').stat().st_size} bytes" in told
    assert told.rstrip().endswith("serves       smollm2")


@pytest.mark.parametrize("end", ["", "//"])
def test_the_folder_names_the_model(both, tmp_path, end):
    with Worker(tmp_path, "--slots", "1", "--context", "64", model=f"{both[1]}{end}", alias=None) as w:
        assert [m["id"] for m in w.http.get("/v1/models").json()["data"]] == ["smollm2"]
