"""Reads /metrics of a running server as Prometheus does, and checks that what is counted counts.

    python3 -m venv venv && venv/bin/pip install prometheus_client
    brisk serve RUN
    venv/bin/python metrics.py http://127.0.0.1:8080 [KEY]

Any model will do. The server should not be asked by others meanwhile. A line is printed for each thing that holds; the exit
status is 1 as soon as something does not.
"""

import base64
import json
import struct
import sys
import urllib.error
import urllib.request
import zlib

from prometheus_client.openmetrics.parser import text_string_to_metric_families

BASE = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else sys.exit(__doc__)
HEADERS = {"authorization": f"Bearer {sys.argv[2]}"} if len(sys.argv) > 2 else {}

# Name, kind, unit, and labels of each family. One with labels is there from its first sample on.
FAMILIES = {
    "brisk_answers": ("counter", "", {"route", "status"}),
    "brisk_model_rows": ("counter", "", {"model", "version"}),
    "brisk_model_faults": ("counter", "", {"model", "version"}),
    "brisk_model_latency_seconds": ("histogram", "seconds", {"model", "version"}),
    "brisk_batch_rows": ("histogram", "", {"model", "version"}),
    "brisk_batch_waited_seconds": ("histogram", "seconds", {"model", "version"}),
    "brisk_batch_computed_seconds": ("histogram", "seconds", {"model", "version"}),
    "brisk_shadow_answers": ("counter", "", {"model", "version", "shadow", "answer"}),
    "brisk_versions_loaded": ("gauge", "", set()),
    "brisk_rows_waiting": ("gauge", "", set()),
    "brisk_requests_dropped": ("counter", "", set()),
    "brisk_connections": ("gauge", "", set()),
}


def ask(path, body=None, **headers):
    """Status, content type and body of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, {"content-type": "application/json", **HEADERS, **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers["content-type"], e.read().decode()


def scrape():
    """Samples by name and labels, and the families."""
    status, content, text = ask("/metrics")
    assert status == 200 and content.startswith("application/openmetrics-text; version=1.0.0"), (status, content)
    assert text.endswith("# EOF\n")
    # The parser refuses what is not OpenMetrics: order, suffixes, buckets that are not cumulative, doubles.
    families = list(text_string_to_metric_families(text))
    samples = {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}
    return samples, {f.name: f for f in families}


def value(samples, name, **labels):
    return samples.get((name, frozenset((k, str(v)) for k, v in labels.items())), 0)


def row(of):
    """Something that a model reads: its inputs as /console/models describes them."""
    values = {}
    for name, schema in of["row"]["properties"].items():
        kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
        if schema.get("contentEncoding"):
            values[name] = base64.b64encode(picture()).decode()
        elif kind == "array":
            size = next(p["shape"] for p in of["inputs"] if p["name"] == name)[1:]
            values[name] = nested(size)
        else:
            values[name] = {"string": "a text", "number": 1}[kind]
    return values


def nested(size):
    return 0.5 if not size else [nested(size[1:]) for _ in range(size[0])]


def picture():
    """A grey PNG of 8 x 8."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 72)) + chunk(b"IEND", b"")


def main():
    for model in json.loads(ask("/console/state")[2])["models"]:
        name = model["name"]
        of = json.loads(ask(f"/console/models/{name}/{model['default']}")[2])
        labels = {"model": name, "version": of["version"]}
        before = scrape()[0]
        for rows in [1, 3]:
            status, _, text = ask(f"/predict/{name}", {"rows": [row(of)] * rows})
            assert status == 200, text
        assert ask(f"/predict/{name}", {"rows": []})[0] == 400
        late, _, text = ask(f"/predict/{name}", row(of), **{"request-timeout": "0.000000001"})
        assert late == 504, (late, text)
        assert ask("/no/such/page")[0] == 404
        after = scrape()[0]
        more = lambda what, **labels: value(after, what, **labels) - value(before, what, **labels)
        route = "/predict/{model}"
        for what, expected, of_what in [
            ("brisk_answers_total", 2, {"route": route, "status": 200}),
            ("brisk_answers_total", 1, {"route": route, "status": 400}),
            ("brisk_answers_total", 1, {"route": route, "status": 504}),
            ("brisk_answers_total", 1, {"route": "other", "status": 404}),
            ("brisk_model_rows_total", 4, labels),
            ("brisk_model_faults_total", 1, labels),
            ("brisk_model_latency_seconds_count", 2, labels),
            ("brisk_batch_rows_count", 2, labels),
            ("brisk_batch_rows_sum", 4, labels),
            ("brisk_batch_waited_seconds_count", 2, labels),
            ("brisk_batch_computed_seconds_count", 2, labels),
        ]:
            found = more(what, **of_what)
            assert found == expected, f"{what} {of_what}: expected {expected} more, found {found}"
        assert more("brisk_batch_computed_seconds_sum", **labels) > 0
        fewer = [k for k, v in before.items() if k[0].endswith(("_total", "_count", "_bucket")) and after.get(k, -1) < v]
        assert not fewer, f"counters that went down or away: {fewer}"
        print(f"{name}: what was asked was counted")

    samples, families = scrape()
    strange, missing = set(families) - set(FAMILIES), set(FAMILIES) - set(families) - {"brisk_shadow_answers"}
    assert not strange and not missing, f"unknown: {strange}; missing: {missing}"
    for name, family in families.items():
        kind, unit, labels = FAMILIES[name]
        assert (family.type, family.unit) == (kind, unit) and family.documentation, (name, family.type, family.unit)
        found = [set(s.labels) - {"le"} for s in family.samples]
        assert all(f == labels for f in found), (name, found)
    assert value(samples, "brisk_versions_loaded") >= 1 and value(samples, "brisk_connections") >= 1
    print(f"{len(families)} families, of the kinds and labels that are documented")


if __name__ == "__main__":
    main()
