"""One process: a checkpoint in transformers behind the same three addresses. `python torch_backend.py PATH PORT`.

Completions wait in a line of one; /health answers meanwhile. It ends with its stdin, as llama_backend does.
"""

import asyncio
import concurrent.futures
import json
import sys
import threading
from pathlib import Path


class Engine:
    """The model, and what it has done so far."""

    def __init__(self, path):
        import torch
        import transformers

        from course_lib import artifacts

        torch.set_num_threads(1)
        self.model, self.tokenizer = artifacts.load(path)
        self.runtime = f"transformers {transformers.__version__}, torch {torch.__version__}"
        self.line = concurrent.futures.ThreadPoolExecutor(1)
        self.requests = self.written = 0

    def complete(self, asked):
        """The reply as OpenAI's clients expect it; counted are the tokens that the model wrote."""
        from course_lib.evaluate.decode import generate_tokens, one_thread, prompt_tokens

        stops, most = asked["stop"], asked["max_tokens"]
        rows = [prompt_tokens(self.tokenizer, asked["prompt"])]
        with one_thread():
            (new,) = generate_tokens(self.model, self.tokenizer, rows, most, _character(stops), progress=False)
        whole = self.tokenizer.decode(new, skip_special_tokens=True)
        text, tokens = whole, len(new)
        for stop in stops:
            text = text.split(stop)[0]
        full = text == whole and tokens == most and not set(new[-1:]) & set(self.tokenizer.all_special_ids)
        self.requests, self.written = self.requests + 1, self.written + tokens
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": "length" if full else "stop"}
        return {"object": "text_completion", "model": "artifact", "choices": [choice],
                "usage": {"completion_tokens": tokens}}  # fmt: skip


def _character(stops):
    """What greedy decoding may stop at early: a single character."""
    return next((stop for stop in stops if len(stop) == 1), None)


def application(engine):
    """The three addresses."""
    from tornado import web

    from course_lib.deploy.limits import BadRequest, Limits, read_request

    class Completions(web.RequestHandler):
        async def post(self):
            try:
                asked = read_request(self.request.body, Limits(max_tokens=512))
                loop = asyncio.get_running_loop()
                self.write(await loop.run_in_executor(engine.line, engine.complete, asked))
            except (BadRequest, ValueError) as error:
                self.set_status(400)
                self.write({"error": {"code": 400, "message": str(error), "type": "invalid_request_error"}})

    class Health(web.RequestHandler):
        def get(self):
            self.write({"status": "ok"})

    class Metrics(web.RequestHandler):
        def get(self):
            self.set_header("Content-Type", "text/plain")
            self.write(f"course:requests_total {engine.requests}\ncourse:tokens_predicted_total {engine.written}\n")

    return web.Application([("/v1/completions", Completions), ("/health", Health), ("/metrics", Metrics)])


async def serve(engine, port):
    """Listen, say where, and go on until stdin ends."""
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    sockets = bind_sockets(port, "127.0.0.1")
    HTTPServer(application(engine), max_body_size=64 * 1024).add_sockets(sockets)
    where = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    print(json.dumps({"url": where, "runtime": engine.runtime}), flush=True)
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    await ended.wait()


def main():
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    asyncio.run(serve(Engine(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
