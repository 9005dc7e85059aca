"""Models as Hugging Face publishes them, made here: folders with config.json, tokenizer.json and safetensors files."""
import json
import struct
from pathlib import Path

import gguf
import numpy as np

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = {**BYTE_LEVEL, "use_regex": True}


def words(digits: str) -> dict:
    """As the files of Llama 3 and of Qwen have it."""
    regex = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits +
             r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]}


# The letters of DeepSeek's first tokenizers, as their files have them.
LETTERS = ("A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ"
           "\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ"
           "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
           "\U000118a0-\U000118df\U0001e900-\U0001e943")


def deepseek(*regexes: str) -> dict:
    """As the files of DeepSeek LLM, V2 and Coder have it: line ends first, digits last."""
    steps = [{"type": "Split", "pattern": {"Regex": r}, "behavior": "Isolated", "invert": False}
             for r in ["[\r\n]", *regexes, "[一-龥ࠀ-一가-\ud7ff]+"]]
    return {"type": "Sequence", "pretokenizers": [*steps, {"type": "Digits", "individual_digits": True}, BYTE_LEVEL]}


PRE_TOKENIZERS = {
    "deepseek-llm": deepseek(rf"\s?[{LETTERS}]+", "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+$"),
    "deepseek-coder": deepseek(r"\s?\p{L}+", r"\s?\p{P}+"),
    "gpt-2": GPT2,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, GPT2]},
    "llama-bpe": words(r"\p{N}{1,3}"),
    "qwen2": words(r"\p{N}"),
}


def write_safetensors(path: Path, tensors: dict) -> None:
    """{name: numpy array of float16 or float32}"""
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": {"float16": "F16", "float32": "F32"}[t.dtype.name], "shape": t.shape, "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            out.write(t.tobytes())


def fields_of(path: Path) -> dict:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def sentencepiece_merges(tokens: list, scores: list) -> list:
    """All pairs that make a token, the best token first: as transformers writes a SentencePiece model."""
    ids = {t: i for i, t in enumerate(tokens)}
    pairs = []
    for text, i in ids.items():
        for cut in range(1, len(text)):
            if text[:cut] in ids and text[cut:] in ids:
                pairs.append((-scores[i], i, [text[:cut], text[cut:]]))
    return [pair for _, _, pair in sorted(pairs, key=lambda p: p[:2])]


def tokenizer_json(fields: dict) -> dict:
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    is_spm = fields["tokenizer.ggml.model"] == "llama"
    vocab = {t: i for i, (t, kind) in enumerate(zip(tokens, kinds)) if kind in (NORMAL, UNKNOWN, BYTE)}
    model = {"type": "BPE", "byte_fallback": is_spm, "ignore_merges": fields.get("tokenizer.ggml.pre") == "llama-bpe", "vocab": vocab}
    if is_spm:
        model["unk_token"] = tokens[kinds.index(UNKNOWN)]
        model["merges"] = sentencepiece_merges(tokens, fields["tokenizer.ggml.scores"])
    else:
        model["merges"] = fields["tokenizer.ggml.merges"]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace]}
    return {
        "version": "1.0", "model": model, "normalizer": normalizer if is_spm else None,
        "pre_tokenizer": None if is_spm else PRE_TOKENIZERS[fields["tokenizer.ggml.pre"]],
        "added_tokens": [{"id": i, "content": t, "special": kind == CONTROL}
                         for i, (t, kind) in enumerate(zip(tokens, kinds)) if kind in (CONTROL, USER_DEFINED)],
    }


def write_vocabulary(folder: Path, tokenizer: dict, bos: str | None, chat_template: str | None = None) -> None:
    config = {"add_bos_token": bos is not None, "bos_token": bos, "chat_template": chat_template}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def vocabulary_alone(folder: Path, tokenizer: dict, size: int, bos: str | None) -> Path:
    """A folder whose text can be turned into tokens, with a model that cannot be served."""
    folder.mkdir()
    write_vocabulary(folder, tokenizer, bos)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32,
        "max_position_embeddings": 64, "vocab_size": size, "tie_word_embeddings": True}))
    write_safetensors(folder / "model.safetensors", {"model.norm.weight": np.ones(32, np.float32)})
    return folder
