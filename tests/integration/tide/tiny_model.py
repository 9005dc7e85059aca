"""A model of DeepSeek's kind so small that an emulated device answers in a second: latents, experts, two layers of random
weights, a vocabulary of bytes. It says lower-case letters only."""
from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, LATENT, PLAIN, ROTATED, VALUE = 64, 4, 64, 32, 32, 32
FF, EXPERT_FF, EXPERTS, USED, SHARED = 128, 64, 8, 3, 1
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]


def byte_letters() -> list[str]:
    """What stands for each byte in a vocabulary of GPT-2's kind: itself where that can be seen."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (c for c in range(256) if c not in seen)
    shown = {c: chr(c) for c in seen} | {c: chr(256 + i) for i, c in enumerate(others)}
    return [shown[c] for c in range(256)]


def numbers(writer: gguf.GGUFWriter) -> None:
    for name, value in {
        "block_count": 2, "context_length": 512, "embedding_length": WIDTH, "feed_forward_length": FF,
        "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.kv_lora_rank": LATENT,
        "attention.key_length": LATENT + ROTATED, "attention.value_length": LATENT,
        "attention.key_length_mla": PLAIN + ROTATED, "attention.value_length_mla": VALUE, "rope.dimension_count": ROTATED,
        "leading_dense_block_count": 1, "expert_count": EXPERTS, "expert_used_count": USED,
        "expert_shared_count": SHARED, "expert_feed_forward_length": EXPERT_FF,
    }.items():
        writer.add_uint32(f"deepseek2.{name}", value)
    writer.add_float32("deepseek2.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_float32("deepseek2.rope.freq_base", 10000)


def vocabulary(writer: gguf.GGUFWriter) -> int:
    tokens = byte_letters() + ["he"] + CONTROL
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "smollm")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", [1] * 257 + [3] * len(CONTROL))
    writer.add_array("tokenizer.ggml.merges", ["h e"])
    writer.add_uint32("tokenizer.ggml.eos_token_id", tokens.index("<|im_end|>"))
    writer.add_string("tokenizer.chat_template", CHATML)
    return len(tokens)


def matrices() -> dict[str, dict[str, tuple]]:
    """Shapes by the layer's kind, the values of a row last."""
    attention = {"attn_q": (HEADS * (PLAIN + ROTATED), WIDTH), "attn_kv_a_mqa": (LATENT + ROTATED, WIDTH),
                 "attn_k_b": (HEADS, LATENT, PLAIN), "attn_v_b": (HEADS, VALUE, LATENT),
                 "attn_output": (WIDTH, HEADS * VALUE)}
    shared = SHARED * EXPERT_FF
    return {"dense": {**attention, "ffn_gate": (FF, WIDTH), "ffn_up": (FF, WIDTH), "ffn_down": (WIDTH, FF)},
            "experts": {**attention, "ffn_gate_inp": (EXPERTS, WIDTH), "ffn_gate_exps": (EXPERTS, EXPERT_FF, WIDTH),
                        "ffn_up_exps": (EXPERTS, EXPERT_FF, WIDTH), "ffn_down_exps": (EXPERTS, WIDTH, EXPERT_FF),
                        "ffn_gate_shexp": (shared, WIDTH), "ffn_up_shexp": (shared, WIDTH),
                        "ffn_down_shexp": (WIDTH, shared)}}


def write_tiny_model(path: Path) -> Path:
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "deepseek2")
    numbers(writer)
    tokens = vocabulary(writer)
    output = random.normal(0, 0.5, (tokens, WIDTH)).astype(np.float32)
    output[[i for i in range(tokens) if not ord("a") <= i <= ord("z")]] = 0
    writer.add_tensor("token_embd.weight", random.normal(0, 0.5, (tokens, WIDTH)).astype(np.float32))
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer, kind in enumerate(["dense", "experts"]):
        for name, width in {"attn_norm": WIDTH, "attn_kv_a_norm": LATENT, "ffn_norm": WIDTH}.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
        for name, shape in matrices()[kind].items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", random.normal(0, 0.15, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
