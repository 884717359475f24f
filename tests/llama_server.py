"""llama.cpp's own server with a tiny model made on the spot: `python tests/llama_server.py FOLDER` prints its address
and serves until its standard input is closed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
from gguf import GGUFWriter, TokenType

WIDTH = 512
SAID = ["▁[", '"', "Karel", "▁Čapek", '",', '▁"', "Rome", '"]', "</s>"]  # what follows the `:` of a prompt's end
P = 0.9


def write_model(path: Path) -> None:
    """Write a LLaMA of one layer in which a token decides the next: its embeddings are unit vectors, its layer adds
    nothing, its output is a table of what follows what."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    new = ["▁", ":", *dict.fromkeys(token for token in SAID if token != "</s>")]
    tokens += new
    kinds += [TokenType.NORMAL] * len(new)
    follows = numpy.zeros((len(tokens), WIDTH), dtype="float32")
    gain = numpy.log(P / (1 - P) * (len(tokens) - 1)) / numpy.sqrt(WIDTH)
    for before, after in zip([":", *SAID[:-1]], SAID):
        follows[tokens.index(after), tokens.index(before)] = gain

    writer = GGUFWriter(path, "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(n) for n in range(len(new))])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)

    def add(name: str, *shape: int, value: float = 0.0) -> None:
        writer.add_tensor(name, numpy.full(shape, value, dtype="float32"))

    writer.add_tensor("token_embd.weight", numpy.eye(len(tokens), WIDTH, dtype="float32"))
    writer.add_tensor("output.weight", follows)
    add("output_norm.weight", WIDTH, value=1.0)
    add("blk.0.attn_norm.weight", WIDTH, value=1.0)
    add("blk.0.ffn_norm.weight", WIDTH, value=1.0)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"blk.0.{name}.weight", WIDTH, WIDTH)
    add("blk.0.ffn_gate.weight", 32, WIDTH)
    add("blk.0.ffn_up.weight", 32, WIDTH)
    add("blk.0.ffn_down.weight", WIDTH, 32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(folder: Path) -> None:
    from xllamacpp import CommonParams, Server

    write_model(folder / "tiny.gguf")
    params = CommonParams()
    params.model.path = str(folder / "tiny.gguf")
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 2048
    params.n_parallel = 2
    params.warmup = False
    params.cpuparams.n_threads = 1
    server = Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
