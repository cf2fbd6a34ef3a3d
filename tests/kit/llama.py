"""llama.cpp as an upstream: a tiny random model made on the spot, and a process that serves it.

`python -m tests.kit.llama MODEL` serves; llama.cpp's log goes to standard output, `listening URL` among it. The text
is noise, but the tokenizer, the sampler, the event streams and the usage are llama.cpp's own.
"""

from __future__ import annotations

from pathlib import Path
import sys
import threading

import gguf
import numpy as np
import xllamacpp

EMBEDDING, HEADS, LAYERS, HIDDEN, CONTEXT = 64, 4, 2, 128, 65536
SLOTS = 4
WORDS = ["the", "a", "cat", "sat", "on", "mat", "and", "hello", "world", "token", "stream", "été", "豆腐"]
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|> {{ m.content }}\n{% endfor %}<|assistant|>"


def write_model(path: Path) -> None:
    """Write a llama with random weights, half a megabyte; the same one each time."""
    random = np.random.default_rng(0)
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    scores = [0.0] * len(tokens)
    for word in dict.fromkeys((*(f"\u2581{word}" for word in WORDS), "\u2581", *map(chr, range(33, 127)))):
        tokens.append(word.encode())
        kinds.append(gguf.TokenType.NORMAL)
        scores.append(-float(len(scores)))

    def weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.05).astype(np.float32)

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)
    ones = np.ones(EMBEDDING, np.float32)
    writer.add_tensor("token_embd.weight", weights(len(tokens), EMBEDDING))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", weights(len(tokens), EMBEDDING))
    for layer in range(LAYERS):
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
        for name in ("q", "k", "v", "output"):
            writer.add_tensor(f"blk.{layer}.attn_{name}.weight", weights(EMBEDDING, EMBEDDING))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", weights(HIDDEN, EMBEDDING))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", weights(HIDDEN, EMBEDDING))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", weights(EMBEDDING, HIDDEN))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path: Path) -> None:
    """Serve the model until the process is ended."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = SLOTS
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    print(f"listening {server.listening_address}", flush=True)  # noqa: T201 - who started it reads it
    threading.Event().wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
