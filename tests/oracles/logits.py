"""Logits of the tiny models of tests/unit/tiny_models.h by transformers, in float32 on the CPU.

    python3 -m venv build/oracle && build/oracle/bin/pip install torch transformers gguf
    build/dev/tests/architectures_test --write build/tiny
    build/oracle/bin/python tests/oracles/logits.py build/tiny/*.gguf

Writes tests/oracles/NAME.logits for each file: the tokens, then for every position the logits of every eighth token
of the vocabulary. tests/unit/architectures_test.c compares. The heads' keys and values are multiplied out here
(transformers' form of attention over latents), while the worker keeps to the latents: both must agree.

Besides, what transformers itself saves of each model: NAME.config.json, and NAME.tensors with every tensor's name,
shape and the beginning of the SHA-256 of its values. tests/unit/folder_test.c writes the same folders and must come to
the same sums, so its folders are those that transformers writes. Llama 3's stretched rotation has no divisors there but
a rule: llama3-rule is the same model with that.

What the worker keeps in its cache is f16, so it is rounded to f16 here too (all else stays float32): without that the
logits differ by up to 2e-3 of the largest one, and an error in a formula could hide behind so much.
"""

import hashlib
import pathlib
import shutil
import sys
import tempfile

import gguf
import numpy
import safetensors.torch
import torch
import transformers

POSITIONS = 48
STRIDE = 8  # of the vocabulary
FOLDER = pathlib.Path(__file__).parent


class File:
    """A GGUF file: its keys without the architecture's prefix, its tensors as float32, rows first."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.family = reader.fields["general.architecture"].contents()
        self.keys = {
            name.removeprefix(self.family + "."): field.contents()
            for name, field in reader.fields.items()
            if not name.startswith("tokenizer.")
        }
        self.tensors = {
            t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).astype(numpy.float32).copy())
            for t in reader.tensors
        }

    def layers(self, name):
        return [self.tensors.get(f"blk.{i}.{name}") for i in range(self.keys["block_count"])]


def rope(file):
    """rope_parameters in transformers' words."""
    k = file.keys
    out = {"rope_type": k.get("rope.scaling.type", "default"), "rope_theta": k["rope.freq_base"]}
    if out["rope_type"] == "default":
        return out
    out["factor"] = k["rope.scaling.factor"]
    if out["rope_type"] == "yarn":
        out["original_max_position_embeddings"] = k["rope.scaling.original_context_length"]
    if out["rope_type"] == "llama3":
        out.update(low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
    if "rope.scaling.yarn_log_multiplier" in k:  # GGUF's is a tenth of mscale_all_dim
        out["mscale"] = out["mscale_all_dim"] = 10 * k["rope.scaling.yarn_log_multiplier"]
    return out


def common(file):
    k = file.keys
    return {
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "hidden_size": k["embedding_length"],
        "intermediate_size": k["feed_forward_length"],
        "num_hidden_layers": k["block_count"],
        "num_attention_heads": k["attention.head_count"],
        "num_key_value_heads": k["attention.head_count_kv"],
        "max_position_embeddings": k["context_length"],
        "rms_norm_eps": k["attention.layer_norm_rms_epsilon"],
        "rope_parameters": rope(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attn_implementation": "eager",
    }


def llama_model(file):
    config = transformers.LlamaConfig(**common(file), head_dim=file.keys["attention.key_length"])
    return transformers.LlamaForCausalLM(config)


def qwen2_model(file):
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**common(file)))


def qwen3_model(file):
    config = transformers.Qwen3Config(**common(file), head_dim=file.keys["attention.key_length"])
    return transformers.Qwen3ForCausalLM(config)


def gemma3_model(file):
    k = file.keys
    config = transformers.Gemma3TextConfig(
        **{
            **common(file),
            "rope_parameters": {
                "full_attention": rope(file),
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
        head_dim=k["attention.key_length"],
        query_pre_attn_scalar=k["attention.key_length"],
        sliding_window=k["attention.sliding_window"],
    )
    return transformers.Gemma3ForCausalLM(config)


def deepseek_model(file):
    k = file.keys
    latent = {
        **common(file),
        "num_key_value_heads": k["attention.head_count"],
        "kv_lora_rank": k["attention.kv_lora_rank"],
        "q_lora_rank": k.get("attention.q_lora_rank"),
        "qk_rope_head_dim": k["rope.dimension_count"],
        "qk_nope_head_dim": k["attention.key_length_mla"] - k["rope.dimension_count"],
        "v_head_dim": k["attention.value_length_mla"],
        "n_routed_experts": k["expert_count"],
        "n_shared_experts": k["expert_shared_count"],
        "num_experts_per_tok": k["expert_used_count"],
        "moe_intermediate_size": k["expert_feed_forward_length"],
        "first_k_dense_replace": k["leading_dense_block_count"],
        "routed_scaling_factor": k["expert_weights_scale"],
        "n_group": k.get("expert_group_count", 1),
        "topk_group": k.get("expert_group_used_count", 1),
    }
    if k.get("expert_gating_func", 1) == 2:
        config = transformers.DeepseekV3Config(**latent, norm_topk_prob=k["expert_weights_norm"], num_mtp_layers=0)
        return transformers.DeepseekV3ForCausalLM(config)
    method = "group_limited_greedy" if latent["n_group"] > 1 else "greedy"
    return transformers.DeepseekV2ForCausalLM(transformers.DeepseekV2Config(**latent, topk_method=method))


def rows_of_halves(weight, heads):
    """GGUF's llama keeps the two values of a pair side by side, transformers half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def attention_weights(file, i, prefix):
    """name in transformers -> tensor, of layer i."""
    names = {
        "attn_q.weight": "q_proj.weight",
        "attn_k.weight": "k_proj.weight",
        "attn_v.weight": "v_proj.weight",
        "attn_q.bias": "q_proj.bias",
        "attn_k.bias": "k_proj.bias",
        "attn_v.bias": "v_proj.bias",
        "attn_q_norm.weight": "q_norm.weight",
        "attn_k_norm.weight": "k_norm.weight",
        "attn_output.weight": "o_proj.weight",
        "attn_q_a.weight": "q_a_proj.weight",
        "attn_q_a_norm.weight": "q_a_layernorm.weight",
        "attn_q_b.weight": "q_b_proj.weight",
        "attn_kv_a_mqa.weight": "kv_a_proj_with_mqa.weight",
        "attn_kv_a_norm.weight": "kv_a_layernorm.weight",
    }
    layer = {name.removeprefix(f"blk.{i}."): t for name, t in file.tensors.items() if name.startswith(f"blk.{i}.")}
    out = {prefix + names[name]: t for name, t in layer.items() if name in names}
    if file.family == "llama":
        for part, heads in (("q", "attention.head_count"), ("k", "attention.head_count_kv")):
            name = f"{prefix}{part}_proj.weight"
            out[name] = rows_of_halves(out[name], file.keys[heads])
    if "attn_k_b.weight" in layer:  # a head's key rows, then its value rows
        keys = layer["attn_k_b.weight"].transpose(1, 2)
        both = torch.cat((keys, layer["attn_v_b.weight"]), dim=1)
        out[prefix + "kv_b_proj.weight"] = both.reshape(-1, both.shape[-1])
    return out


def forward_weights(file, i, prefix):
    layer = {name.removeprefix(f"blk.{i}."): t for name, t in file.tensors.items() if name.startswith(f"blk.{i}.")}
    names = {
        "ffn_gate.weight": "gate_proj.weight",
        "ffn_up.weight": "up_proj.weight",
        "ffn_down.weight": "down_proj.weight",
        "ffn_gate_inp.weight": "gate.weight",
        "exp_probs_b.bias": "gate.e_score_correction_bias",
        "ffn_gate_shexp.weight": "shared_experts.gate_proj.weight",
        "ffn_up_shexp.weight": "shared_experts.up_proj.weight",
        "ffn_down_shexp.weight": "shared_experts.down_proj.weight",
        "ffn_down_exps.weight": "experts.down_proj",
    }
    out = {prefix + names[name]: t for name, t in layer.items() if name in names}
    if "ffn_gate_exps.weight" in layer:
        both = torch.cat((layer["ffn_gate_exps.weight"], layer["ffn_up_exps.weight"]), dim=1)
        out[prefix + "experts.gate_up_proj"] = both
    return out


def layer_weights(file, i):
    prefix = f"model.layers.{i}."
    norms = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    if file.family == "gemma3":
        norms = {
            "attn_norm": "input_layernorm",
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        }
    out = {f"{prefix}{theirs}.weight": file.tensors[f"blk.{i}.{ours}.weight"] for ours, theirs in norms.items()}
    out.update(attention_weights(file, i, prefix + "self_attn."))
    out.update(forward_weights(file, i, prefix + "mlp."))
    return out


def weights(file):
    out = {
        "model.embed_tokens.weight": file.tensors["token_embd.weight"],
        "model.norm.weight": file.tensors["output_norm.weight"],
        "lm_head.weight": file.tensors.get("output.weight", file.tensors["token_embd.weight"]),
    }
    for i in range(file.keys["block_count"]):
        out.update(layer_weights(file, i))
    if file.family == "gemma3":  # transformers adds 1 to the weight of a norm, GGUF has done so
        out = {name: t - 1 if "norm.weight" in name else t for name, t in out.items()}
    return out


MODELS = {
    "llama": llama_model,
    "qwen2": qwen2_model,
    "qwen3": qwen3_model,
    "gemma3": gemma3_model,
    "deepseek2": deepseek_model,
}


class HalfCache(transformers.DynamicCache):
    def update(self, keys, values, *args, **kwargs):
        return super().update(keys.half().float(), values.half().float(), *args, **kwargs)


def save(model, name):
    """What transformers writes of a model, without its values."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        shutil.copy(pathlib.Path(folder) / "config.json", FOLDER / f"{name}.config.json")
        tensors = safetensors.torch.load_file(pathlib.Path(folder) / "model.safetensors")
    with open(FOLDER / f"{name}.tensors", "w", encoding="ascii") as out:
        for key, t in sorted(tensors.items()):
            digest = hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()[:16]
            print(key, "x".join(map(str, t.shape)), digest, file=out)


def tokens_of(file):
    return [(7 + 37 * i + i * i) % file.tensors["token_embd.weight"].shape[0] for i in range(POSITIONS)]


def load(file):
    model = MODELS[file.family](file).to(torch.float32).eval()
    result = model.load_state_dict(weights(file), strict=False)
    assert not result.unexpected_keys and not result.missing_keys, result
    return model


def write_logits(file, model, name):
    tokens = tokens_of(file)
    with torch.no_grad():
        rows = model(torch.tensor([tokens]), cache=HalfCache(config=model.config)).logits[0]
    with open(FOLDER / f"{name}.logits", "w", encoding="ascii") as out:
        print(f"# transformers {transformers.__version__}, torch {torch.__version__}: tests/oracles/logits.py", file=out)
        print(*tokens, file=out)
        for row in rows:
            print(*(f"{v:.7g}" for v in row[::STRIDE].tolist()), file=out)
    print(name, "largest logit", rows.abs().max().item())


def write_llama3_rule(file):
    file.keys["rope.scaling.type"], file.keys["rope.scaling.factor"] = "llama3", 8.0
    del file.tensors["rope_freqs.weight"]
    model = load(file)
    save(model, "llama3-rule")
    write_logits(file, model, "llama3-rule")


def main():
    for path in sys.argv[1:]:
        file, name = File(path), pathlib.Path(path).stem
        model = load(file)
        if "rope_freqs.weight" in file.tensors:
            model.model.rotary_emb.inv_freq /= file.tensors["rope_freqs.weight"]
        else:
            save(model, name)
        write_logits(file, model, name)
        if "rope_freqs.weight" in file.tensors:
            write_llama3_rule(file)


if __name__ == "__main__":
    main()
