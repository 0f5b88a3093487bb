"""Asks a running server with other people's clients: Triton's over HTTP and gRPC, gRPC's for health, OpenAI's.

    brisk key ci --file keys.json --scopes infer,admin
    brisk serve RUN --grpc-port 8081 --api-key-file keys.json
    python -m venv venv && venv/bin/pip install 'tritonclient[http,grpc]' grpcio-health-checking openai numpy
    venv/bin/python clients.py http://127.0.0.1:8080 127.0.0.1:8081 MODEL [KEY] [--embed NAME [--embed-http URL]]

MODEL must be a classifier of pictures. With a key (it must be for all), what is allowed without one is tried too, and the
model is unloaded and loaded. NAME is a model with an encoder of texts, if one is served, here or at another URL.
"""

import argparse
import queue
from urllib.parse import urlsplit

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

CHECKS = []


def check(f):
    CHECKS.append(f)
    return f


class Server:
    def __init__(self, args):
        self.url, self.address, self.model = args.http, args.grpc, args.model
        self.key, self.embed, self.embed_url = args.key, args.embed, args.embed_http or args.http
        self.metadata = list(self.headers.items())
        self.http = triton_http.InferenceServerClient(urlsplit(self.url).netloc, concurrency=4)
        self.grpc = triton_grpc.InferenceServerClient(self.address)
        self.channel = grpc.insecure_channel(self.address)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        about = self.http.get_model_metadata(self.model, headers=self.headers)
        (self.input,), self.output = about["inputs"], about["outputs"][0]
        assert self.input["datatype"] == "UINT8", "expected a model of pictures"

    @property
    def headers(self):
        """Made anew for each call: Triton's client over HTTP puts lengths into what it is given."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def both(self):
        return [(triton_http, self.http), (triton_grpc, self.grpc)]

    def pictures(self, n):
        return np.random.default_rng(n).integers(0, 256, [n, *self.input["shape"][1:]], dtype=np.uint8)

    def infer(self, kind, pictures, *, model=None, name=None, datatype=None, json=False, outputs=None, **more):
        client = self.http if kind is triton_http else self.grpc
        tensor = kind.InferInput(name or self.input["name"], list(pictures.shape), datatype or "UINT8")
        tensor.set_data_from_numpy(pictures, **({"binary_data": False} if json else {}))
        more.setdefault("headers", self.headers)
        return client.infer(model or self.model, [tensor], outputs=outputs, **more)

    def numbers(self, kind, pictures, **more):
        return self.infer(kind, pictures, **more).as_numpy(self.output["name"])

    def contents(self, pictures, **more):
        """A request with typed contents, which Triton's client does not make itself."""
        request = service_pb2.ModelInferRequest(model_name=self.model, id="typed", **more)
        tensor = request.inputs.add(name=self.input["name"], datatype="UINT8", shape=pictures.shape)
        tensor.contents.uint_contents.extend(pictures.flatten().tolist())
        return request


def raises(call, *words):
    """The call fails, and its message has the words."""
    try:
        call()
    except (InferenceServerException, grpc.RpcError) as e:
        text = e.details() if isinstance(e, grpc.RpcError) else f"{e.status()} {e.message()}"
        missing = [w for w in words if w not in text]
        assert not missing, f"{missing} not in {text!r}"
        return e
    raise AssertionError(f"expected an error with {words}")


@check
def server_is_live_and_ready(s):
    for _, client in s.both():
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready(s.model, headers=s.headers)
        assert not client.is_model_ready("nobody", headers=s.headers)
    http, rpc = s.http.get_server_metadata(s.headers), s.grpc.get_server_metadata(s.headers)
    assert http["name"] == rpc.name == "brisk" and http["version"] == rpc.version
    assert "model_repository" in http["extensions"] and "model_repository" in rpc.extensions


@check
def metadata_are_the_same(s):
    http = s.http.get_model_metadata(s.model, headers=s.headers)
    assert http == s.http.get_model_metadata(s.model, http["versions"][0], headers=s.headers)
    rpc = s.grpc.get_model_metadata(s.model, headers=s.headers)
    tensors = lambda all: [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in all]
    assert http["name"] == rpc.name and http["versions"] == list(rpc.versions) and http["platform"] == rpc.platform
    assert http["inputs"] == tensors(rpc.inputs) and http["outputs"] == tensors(rpc.outputs)
    for _, client in s.both():
        raises(lambda: client.get_model_metadata("nobody", headers=s.headers), "nobody", s.model)
        raises(lambda: client.get_model_metadata(s.model, "77", headers=s.headers), "version 77")


@check
def configuration(s):
    config = s.grpc.get_model_config(s.model, headers=s.headers).config
    assert config.name == s.model and config.max_batch_size > 0 and config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == s.input["shape"][1:], config
    assert triton_grpc.model_config_pb2.DataType.Name(config.input[0].data_type) == "TYPE_UINT8"


@check
def all_ways_give_the_same_numbers(s):
    for n in [1, 7]:
        pictures = s.pictures(n)
        ways = {
            "http, raw": s.numbers(triton_http, pictures),
            "http, JSON": s.numbers(
                triton_http,
                pictures,
                json=True,
                outputs=[triton_http.InferRequestedOutput(s.output["name"], binary_data=False)],
            ),
            "http, raw in, JSON out": s.numbers(
                triton_http, pictures, outputs=[triton_http.InferRequestedOutput(s.output["name"], binary_data=False)]
            ),
            "http, JSON in, raw out": s.numbers(
                triton_http,
                pictures,
                json=True,
                outputs=[triton_http.InferRequestedOutput(s.output["name"], binary_data=True)],
            ),
            "grpc, raw": s.numbers(triton_grpc, pictures),
            "grpc, with version": s.numbers(triton_grpc, pictures, model_version="1"),
        }
        answer = s.stub.ModelInfer(s.contents(pictures), metadata=s.metadata)
        assert answer.id == "typed" and not answer.raw_output_contents, "typed in, typed out"
        (output,) = answer.outputs
        ways["grpc, typed"] = np.array(output.contents.fp32_contents, np.float32).reshape(output.shape)
        first = ways["http, raw"]
        assert first.shape == (n, s.output["shape"][1]) and first.dtype == np.float32
        for way, numbers in ways.items():
            assert numbers is not None, f"{way}: no numbers"
            assert np.allclose(numbers, first, atol=1e-6), f"{way}: off by {np.abs(numbers - first).max()}"


@check
def ids_come_back(s):
    assert s.infer(triton_http, s.pictures(1), request_id="a-7").get_response()["id"] == "a-7"
    assert s.infer(triton_grpc, s.pictures(1), request_id="a-7").get_response().id == "a-7"


@check
def classes(s):
    pictures = s.pictures(3)
    numbers = s.numbers(triton_grpc, pictures)
    best = numbers.argsort(axis=1)[:, ::-1][:, :2]
    answers = []
    for kind, _ in s.both():
        output = kind.InferRequestedOutput(s.output["name"], class_count=2)
        answer = s.numbers(kind, pictures, outputs=[output])
        assert answer.shape == (3, 2) and answer.dtype == np.object_, answer
        assert [[int(c.split(b":")[1]) for c in row] for row in answer] == best.tolist(), (answer, best)
        answers.append(answer.tolist())
    typed = s.contents(pictures)
    output = typed.outputs.add(name=s.output["name"])
    output.parameters["classification"].int64_param = 2
    (output,) = s.stub.ModelInfer(typed, metadata=s.metadata).outputs
    assert output.datatype == "BYTES"
    answers.append(np.array(output.contents.bytes_contents, np.object_).reshape(3, 2).tolist())
    assert answers[0] == answers[1] == answers[2], answers
    odd = s.http.infer(  # the same in JSON
        s.model,
        [(t := triton_http.InferInput(s.input["name"], list(pictures.shape), "UINT8")).set_data_from_numpy(pictures) or t],
        outputs=[triton_http.InferRequestedOutput(s.output["name"], binary_data=False, class_count=2)],
        headers=s.headers,
    ).get_response()["outputs"][0]
    assert odd["data"] == [c.decode() for row in answers[0] for c in row], odd


@check
def what_is_wrong_is_named(s):
    name, pictures = s.input["name"], s.pictures(2)
    for kind, _ in s.both():
        code = "400" if kind is triton_http else "INVALID_ARGUMENT"
        raises(lambda: s.infer(kind, pictures[:, 1:]), code, f"`{name}`", "shape")
        raises(lambda: s.infer(kind, pictures.astype(np.float32), datatype="FP32"), code, f"`{name}`", "UINT8", "FP32")
        raises(lambda: s.infer(kind, pictures, name="strange"), code, "`strange`", name)
        raises(lambda: s.infer(kind, pictures[:0]), code)
        odd = [kind.InferRequestedOutput("strange")]
        raises(lambda: s.infer(kind, pictures, outputs=odd), code, "`strange`", s.output["name"])
        code = "404" if kind is triton_http else "NOT_FOUND"
        raises(lambda: s.infer(kind, pictures, model="nobody"), code, "nobody", s.model)
        raises(lambda: s.infer(kind, pictures, model_version="77"), code, "77")
        raises(lambda: s.infer(kind, pictures, model_version="nobody"), code, "nobody")
    wrong = s.contents(pictures)
    wrong.inputs[0].contents.fp32_contents.append(1)
    raises(lambda: s.stub.ModelInfer(wrong, metadata=s.metadata), f"`{name}`", "fp32_contents")
    wrong = s.contents(pictures)
    wrong.raw_input_contents.append(pictures.tobytes())
    raises(lambda: s.stub.ModelInfer(wrong, metadata=s.metadata), f"`{name}`", "give one of the two")
    wrong = s.contents(pictures)
    wrong.inputs[0].contents.uint_contents.append(1)
    raises(lambda: s.stub.ModelInfer(wrong, metadata=s.metadata), f"`{name}`", f"found {pictures.size + 1}")
    wrong = s.contents(pictures)
    wrong.inputs[0].contents.uint_contents[0] = 256
    raises(lambda: s.stub.ModelInfer(wrong, metadata=s.metadata), f"`{name}`", "256")
    wrong = s.contents(pictures)
    wrong.inputs[0].name = "猫" * 100_000
    raises(lambda: s.stub.ModelInfer(wrong, metadata=s.metadata), "there is no input")


@check
def limits_and_deadlines(s):
    raises(lambda: s.infer(triton_http, s.pictures(1), timeout=1), "504")
    raises(lambda: s.infer(triton_grpc, s.pictures(1), timeout=1), "DEADLINE_EXCEEDED")
    # More than the client waits for: it breaks off, and the server goes on.
    raises(lambda: s.infer(triton_grpc, s.pictures(4096), client_timeout=2e-3), "DEADLINE_EXCEEDED")
    # 48 megabytes of pictures; the server takes 32 unless it was told otherwise.
    many = np.zeros([(48 << 20) // s.pictures(1).size, *s.input["shape"][1:]], np.uint8)
    raises(lambda: s.infer(triton_grpc, many), "RESOURCE_EXHAUSTED", "bytes")
    # Many tensors of two bytes each, which would be large when read.
    bomb = s.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    error = raises(lambda: bomb(b"\x2a\x00" * (8 << 20), metadata=s.metadata), "memory")
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    raises(lambda: bomb(b"\xff\xff\xff", metadata=s.metadata))
    error = raises(lambda: s.channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b""), "no such method")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert s.grpc.is_server_ready()


@check
def many_at_once(s):
    pictures = s.pictures(64)
    expected, done = s.numbers(triton_grpc, pictures), queue.Queue()
    for i in range(64):
        tensor = triton_grpc.InferInput(s.input["name"], [1, *s.input["shape"][1:]], "UINT8")
        tensor.set_data_from_numpy(pictures[i : i + 1])
        then = lambda result, error, i=i: done.put((i, result, error))
        s.grpc.async_infer(s.model, [tensor], then, headers=s.headers)
    for _ in range(64):
        i, result, error = done.get(timeout=60)
        assert error is None, error
        assert np.allclose(result.as_numpy(s.output["name"])[0], expected[i], atol=1e-5), i


@check
def index(s):
    http = s.http.get_model_repository_index(headers=s.headers)
    rpc = s.grpc.get_model_repository_index(headers=s.headers).models
    assert http == [{"name": m.name, "version": m.version, "state": m.state, "reason": m.reason} for m in rpc]
    assert {"name": s.model, "version": "1", "state": "READY", "reason": ""} in http


@check
def keys(s):
    if not s.key:
        raises(lambda: s.grpc.unload_model(s.model), "UNAUTHENTICATED", "--api-key-file")
        raises(lambda: s.http.unload_model(s.model), "401", "--api-key-file")
        return
    for kind, client in s.both():
        code = "401" if kind is triton_http else "UNAUTHENTICATED"
        for headers in [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}]:
            raises(lambda: client.get_model_metadata(s.model, headers=headers), code, "key")
            raises(lambda: s.infer(kind, s.pictures(1), headers=headers), code, "key")
            raises(lambda: client.unload_model(s.model, headers=headers), code, "key")
        assert s.numbers(kind, s.pictures(1), headers={"x-api-key": s.key}) is not None
        assert client.is_server_live() and client.is_server_ready()


@check
def loading(s):
    if not s.key:
        return "skipped: no key"
    before = s.numbers(triton_grpc, s.pictures(2))
    for kind, client in s.both():
        client.unload_model(s.model, headers=s.headers)
        for other, _ in s.both():
            raises(lambda: s.infer(other, s.pictures(2)), s.model)
        assert not any(c.is_model_ready(s.model, headers=s.headers) for _, c in s.both())
        states = [m.state for m in s.grpc.get_model_repository_index(headers=s.headers).models if m.name == s.model]
        assert states == ["UNAVAILABLE"], states
        client.load_model(s.model, headers=s.headers)
        assert all(c.is_model_ready(s.model, headers=s.headers) for _, c in s.both())
        raises(lambda: client.load_model("nobody", headers=s.headers), "nobody")
        raises(lambda: client.unload_model("nobody", headers=s.headers), "nobody")
    # KServe's clients put the name into the first field, and want to read that it is loaded.
    name = bytes([0x0A, len(s.model.encode())]) + s.model.encode()
    load = s.channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
    assert load(name, metadata=s.metadata) == name + b"\x10\x01"
    assert np.array_equal(s.numbers(triton_http, s.pictures(2)), before)


@check
def health(s):
    stub = health_pb2_grpc.HealthStub(s.channel)
    for service in ["", "inference.GRPCInferenceService"]:
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
    strange = health_pb2.HealthCheckRequest(service="strange")
    assert raises(lambda: stub.Check(strange)).code() == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(strange)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@check
def embeddings(s):
    if not s.embed:
        return "skipped: no encoder"
    from openai import APIStatusError, OpenAI

    client = OpenAI(base_url=f"{s.embed_url.rstrip('/')}/v1", api_key=s.key or "none", max_retries=0)
    texts = ["A cat sleeps on the sofa.", "Ein Hund bellt.", ""]
    # The client asks for base64 unless told otherwise, and reads it.
    base64 = client.embeddings.create(model=s.embed, input=texts)
    floats = client.embeddings.create(model=s.embed, input=texts, encoding_format="float")
    assert [d.index for d in floats.data] == [0, 1, 2] and floats.usage.prompt_tokens > 0
    vectors = [np.array([d.embedding for d in e.data]) for e in [base64, floats]]
    assert vectors[0].shape[0] == 3 and np.allclose(vectors[0], vectors[1], atol=1e-6)
    one = client.embeddings.create(model=s.embed, input=texts[0], encoding_format="float")
    assert np.allclose(one.data[0].embedding, vectors[1][0], atol=1e-4)
    raw = client.with_raw_response.embeddings.create(model=s.embed, input=texts, encoding_format="base64")
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str), "base64 was asked for"
    for model, status in [("nobody", 404)] + [(s.model, 400)] * (s.embed_url == s.url):
        try:
            client.embeddings.create(model=model, input="a")
            raise AssertionError(f"{model} is no encoder")
        except APIStatusError as e:
            assert e.status_code == status and e.body["message"], (status, e)
    assert any(m.id == s.embed for m in client.models.list())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("http")
    parser.add_argument("grpc")
    parser.add_argument("model")
    parser.add_argument("key", nargs="?")
    parser.add_argument("--embed")
    parser.add_argument("--embed-http")
    server = Server(parser.parse_args())
    for f in CHECKS:
        print(f"{f.__name__}: {f(server) or 'ok'}", flush=True)


if __name__ == "__main__":
    main()
