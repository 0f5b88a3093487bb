"""Checks /openapi.json, and asks a running server whatever the document allows and forbids.

    python3 -m venv venv && venv/bin/pip install openapi-spec-validator schemathesis
    brisk key ci --file keys.json --scopes infer,admin
    brisk serve RUN --api-key-file keys.json
    venv/bin/python openapi.py http://127.0.0.1:8080 [KEY] [--max-examples 30] [--seed 1]

The document must be OpenAPI 3.1. Whatever is sent, no answer may be a 5xx, or have a status, content type or shape that the
document does not announce. That is tried twice: with made-up names of models, and with those that are served. With a key
(for infer and admin) pages that change something are tried too, so let it not be a server that others use: canaries are set and
aliases moved. Without one, those pages answer 401. The exit status is 1 if something does not hold. More arguments are given
to `schemathesis run` as they are.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

from openapi_spec_validator import OpenAPIV31SpecValidator

CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def get(base, path, key=None):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(urllib.request.Request(base + path, headers=headers), timeout=30) as answer:
        return json.load(answer)


def operations(found):
    return [(path, method) for path, item in found["paths"].items() for method in item if method in METHODS]


def validate(found):
    """What is wrong with the document itself, a line each."""
    assert found["openapi"].startswith("3.1"), f"expected OpenAPI 3.1, found {found['openapi']}"
    wrong = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in OpenAPIV31SpecValidator(found).iter_errors()]
    # What the validator leaves to people: an operation must say what it is, and what it answers.
    for path, method in operations(found):
        operation = found["paths"][path][method]
        if not operation.get("summary"):
            wrong.append(f"{method} {path}: no summary")
        if "200" not in operation.get("responses", {}):
            wrong.append(f"{method} {path}: no answer 200")
        if method in {"post", "put", "patch"} and "requestBody" not in operation:
            wrong.append(f"{method} {path}: no body is described")
    return wrong


def with_names(found, names):
    """The document with the names and versions that are there, but for what would take a model out of memory."""
    found = copy.deepcopy(found)
    known = {"model": names, "version": ["1", "production"], "alias": ["production", "next"]}
    for path, method in operations(found):
        for parameter in found["paths"][path][method].get("parameters", []):
            if parameter["name"] in known and not path.endswith("/unload"):
                parameter["schema"] = {"enum": known[parameter["name"]]}
    return found


def fuzz(base, found, args):
    """Whether all held."""
    program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    command = [program, "run", "openapi.json", "--url", base, "--checks", ",".join(CHECKS)]
    command += ["--max-examples", str(args.max_examples), "--seed", str(args.seed), "--phases", "examples,coverage,fuzzing"]
    command += ["--continue-on-failure", "--no-color", "--request-timeout", "30", "--warnings", "off"]
    if args.key:
        command += ["--header", f"Authorization: Bearer {args.key}"]
    # Its files are to be left nowhere.
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "openapi.json"), "w") as file:
            json.dump(found, file)
        return subprocess.run(command + args.more, cwd=folder).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("key", nargs="?")
    parser.add_argument("--max-examples", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args, args.more = parser.parse_known_args()
    base = args.base.rstrip("/")
    found = get(base, "/openapi.json", args.key)
    wrong = validate(found)
    print(f"document: OpenAPI {found['openapi']}, {len(operations(found))} operations, {len(wrong)} faults")
    for line in wrong:
        print(f"  {line}", flush=True)
    names = [m["id"] for m in get(base, "/v1/models", args.key)["data"]]
    print(f"made-up names, then {', '.join(names)}", flush=True)
    held = [fuzz(base, f, args) for f in [found, with_names(found, names)]]
    assert get(base, "/v2/health/ready")["ready"], "it is not ready any more"
    assert [m["id"] for m in get(base, "/v1/models", args.key)["data"]] == names, "models are gone"
    sys.exit(1 if wrong or not all(held) else 0)


if __name__ == "__main__":
    main()
