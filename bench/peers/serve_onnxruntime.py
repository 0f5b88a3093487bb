"""A model behind FastAPI and ONNX Runtime, with the endpoints that `brisk serve` has.

    serve_onnxruntime.py cifar10-cnn --port 8001 --threads 2
    serve_onnxruntime.py minilm --folder MODEL --port 8001 --threads 2 --batching

One process of uvicorn (uvloop, httptools, no access log), bodies read and written by orjson without pydantic. A request runs alone
in FastAPI's thread pool; with --batching requests that wait are joined first, as Triton does it. `cifar10-cnn` has random
weights; MODEL is the Hugging Face folder of all-MiniLM-L6-v2. The server answers GET /v2/health/ready when it is ready.

A child exports the model, so that PyTorch is not in the server's memory. --onnx keeps the file for the next start.
"""

import argparse
import asyncio
import base64
import collections
import multiprocessing
import os
import pathlib
import tempfile
import warnings

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("model", choices=["cifar10-cnn", "minilm"])
p.add_argument("--folder", type=pathlib.Path, help="the Hugging Face folder, for minilm")
p.add_argument("--onnx", type=pathlib.Path, help="the exported model: read if it is there, else written")
p.add_argument("--host", default="127.0.0.1")
p.add_argument("--port", type=int, default=8001)
p.add_argument("--threads", type=int, default=2, help="threads that compute")
p.add_argument("--intra-op", type=int, help="threads of one answer (default, the faster: 1, with --batching --threads)")
p.add_argument("--max-length", type=int, default=256, help="tokens of a text, as sentence_bert_config.json has it")
p.add_argument("--batching", action="store_true", help="join requests that wait")
p.add_argument("--max-batch", type=int, default=32, help="rows that are joined at most")
p.add_argument("--max-delay-ms", type=float, default=2.0, help="how long a request waits for others at most")


def export(model, folder, path):
    """Writes the model, with its preprocessing and what follows it, as ONNX. The exporter of each is the one whose file ran faster."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    warnings.simplefilter("ignore")
    import torch
    from torch import nn

    torch.manual_seed(0)
    if model == "cifar10-cnn":

        class Net(nn.Module):
            """Bytes (batch, height, width, channel) to probabilities. No padding, as in the preset."""

            def __init__(self):
                super().__init__()
                self.layers = nn.Sequential(
                    nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                    nn.Flatten(), nn.Linear(64 * 6 * 6, 10), nn.Softmax(1),
                )  # fmt: skip

            def forward(self, image):
                return self.layers(image.permute(0, 3, 1, 2).float() / 255)

        inputs, names = (torch.zeros(2, 32, 32, 3, dtype=torch.uint8),), ["image"]
        free = {0: "batch"}
    else:
        from transformers import BertModel

        class Net(nn.Module):
            """Mean pooling and L2 normalisation, as sentence-transformers does them."""

            def __init__(self):
                super().__init__()
                self.bert = BertModel.from_pretrained(folder, attn_implementation="eager")

            def forward(self, ids, mask):
                hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (batch, length, 384)
                mask = mask.unsqueeze(-1).to(hidden.dtype)
                return nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

        ids = torch.arange(1000, 1048).view(2, 24)
        inputs, names = (ids, torch.ones_like(ids)), ["input_ids", "attention_mask"]
        free = {0: "batch", 1: "length"}
    out = "probabilities" if model == "cifar10-cnn" else "sentence_embedding"
    torch.onnx.export(
        Net().eval(), inputs, path, input_names=names, output_names=[out], dynamo=False,
        dynamic_axes={name: free for name in names} | {out: {0: "batch"}},
    )  # fmt: skip


def exported(args, folder):
    path = args.onnx or pathlib.Path(folder) / "model.onnx"
    if not path.exists():
        child = multiprocessing.get_context("fork").Process(target=export, args=(args.model, args.folder, path))
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit("the export failed")
    return path


class Batcher:
    """Joins items that wait into calls of `run(items) -> answers` in a thread, one call at a time.

    A call starts when `most` items wait, or when the oldest has waited for `delay` seconds.
    """

    def __init__(self, run, most, delay):
        self.run, self.most, self.delay = run, most, delay
        self.waiting = collections.deque()  # (item, future, when it came)
        self.came = asyncio.Event()
        self.task = asyncio.create_task(self.work())

    async def __call__(self, item):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.waiting.append((item, future, loop.time()))
        self.came.set()
        return await future

    async def work(self):
        loop = asyncio.get_running_loop()
        while True:
            while not self.waiting:
                self.came.clear()
                await self.came.wait()
            until = self.waiting[0][2] + self.delay
            while len(self.waiting) < self.most and (left := until - loop.time()) > 0:
                self.came.clear()
                try:
                    await asyncio.wait_for(self.came.wait(), left)
                except TimeoutError:
                    break
            batch = [self.waiting.popleft() for _ in range(min(self.most, len(self.waiting)))]
            try:
                answers = await loop.run_in_executor(None, self.run, [item for item, _, _ in batch])
                for (_, future, _), answer in zip(batch, answers):
                    future.cancelled() or future.set_result(answer)
            except Exception as error:  # all of the batch hear of it
                for _, future, _ in batch:
                    future.cancelled() or future.set_exception(error)


def application(args, path):
    import numpy as np
    import onnxruntime
    import orjson
    from fastapi import FastAPI, HTTPException, Request, Response
    from fastapi.concurrency import run_in_threadpool

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.intra_op or (args.threads if args.batching else 1)
    options.inter_op_num_threads = 1
    # Threads that spin for work take the processor from the rest of the server.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    app = FastAPI()
    batcher = None

    def images(rows):
        """(n, 32, 32, 3) each."""
        out = session.run(None, {"image": np.concatenate(rows) if len(rows) > 1 else rows[0]})[0]
        return np.split(out, np.cumsum([len(r) for r in rows[:-1]])) if len(rows) > 1 else [out]

    def texts(encodings):
        """One text each: its tokens."""
        width = max(len(e) for e in encodings)
        ids, mask = np.zeros((2, len(encodings), width), np.int64)
        for i, e in enumerate(encodings):
            ids[i, : len(e)], mask[i, : len(e)] = e, 1
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    async def answers(run, items):
        """Alone in the thread pool, or each item with others that wait."""
        nonlocal batcher
        if not args.batching:
            return await run_in_threadpool(run, items)
        batcher = batcher or Batcher(run, args.max_batch, args.max_delay_ms / 1e3)
        return await asyncio.gather(*map(batcher, items)) if len(items) > 1 else [await batcher(items[0])]

    def respond(value):
        return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    def array(tensor, raw):
        shape = tensor["shape"]
        if tensor["datatype"] != "UINT8" or shape[1:] != [32, 32, 3]:
            raise ValueError("expected UINT8 of the shape [-1, 32, 32, 3]")
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is not None:
            return np.frombuffer(raw[:size], np.uint8).reshape(shape)
        return np.array(tensor["data"], np.uint8).reshape(shape)

    @app.get("/v2/health/ready")
    async def ready():
        return Response()

    if args.model == "cifar10-cnn":

        @app.post("/v2/models/{name}/infer")
        async def infer(name: str, request: Request):
            body = await request.body()
            if name != args.model:
                raise HTTPException(404, f"there is no model {name}")
            try:
                head = int(request.headers.get("inference-header-content-length", len(body)))
                asked = orjson.loads(body[:head])
                image = array(asked["inputs"][0], memoryview(body)[head:])
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise HTTPException(400, str(error)) from error
            [out] = await answers(images, [image])
            tensor = {"name": "probabilities", "datatype": "FP32", "shape": out.shape, "data": out.ravel()}
            return respond({"model_name": name, "model_version": "1", "outputs": [tensor]})

    else:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(args.max_length)

        @app.post("/v1/embeddings")
        async def embeddings(request: Request):
            try:
                asked = orjson.loads(await request.body())
                lines = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
                tokens = [e.ids for e in (tokenizer.encode(line) for line in lines)]
            except (ValueError, KeyError, TypeError) as error:
                raise HTTPException(400, str(error)) from error
            vectors = await answers(texts, tokens) if tokens else []
            if asked.get("encoding_format") == "base64":
                vectors = [base64.b64encode(v.astype("<f4").tobytes()).decode() for v in vectors]
            data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
            count = sum(map(len, tokens))
            usage = {"prompt_tokens": count, "total_tokens": count}
            return respond({"object": "list", "data": data, "model": args.model, "usage": usage})

    return app


def main():
    args = p.parse_args()
    if args.model == "minilm" and not args.folder:
        p.error("minilm needs --folder")
    with tempfile.TemporaryDirectory() as folder:
        path = exported(args, folder)
        import uvicorn

        config = uvicorn.Config(
            None, host=args.host, port=args.port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
        )  # fmt: skip
        config.app = application(args, path)
    # The model is in memory. Uvicorn ends the process by the signal it got, so nothing may come after this.
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
