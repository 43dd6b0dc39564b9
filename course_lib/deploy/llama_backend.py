"""One process: llama.cpp's own HTTP server on a GGUF file. `python llama_backend.py FILE PORT`; it ends with its stdin.

Started as a file, not as a module: nothing but llama.cpp is in its memory. As soon as it listens it prints one line of
JSON, {"url": …}. The C++ code answers /v1/completions, /health and /metrics.
"""

import json
import sys
import threading


def parameters(path, port, context=512):
    """llama.cpp's settings: this machine only, one thread, no pages of other origins."""
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path, p.model_alias = path, {"artifact"}
    p.hostnames, p.port, p.n_ctx, p.n_parallel = ["127.0.0.1"], port, context, 1
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
    p.endpoint_metrics, p.cors_origins = True, ""
    return p


def main():
    import xllamacpp

    listening = sys.stdout
    server = xllamacpp.Server(parameters(sys.argv[1], int(sys.argv[2])))
    print(json.dumps({"url": server.listening_address, "runtime": f"llama.cpp (xllamacpp {xllamacpp.__version__})"}),
          file=listening, flush=True)  # fmt: skip
    threading.Event().wait() if sys.stdin is None else sys.stdin.read()


if __name__ == "__main__":
    main()
