"""A server on this machine that answers like the API of Kubeflow Pipelines (v2beta1).

Paths, methods, fields and error bodies as in kfp_server_api and backend/api/v2beta1 of
kubeflow/pipelines; what was created can be listed again.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

BASE = "/apis/v2beta1"


class Api:
    """Holds pipelines, versions, experiments, runs and recurring runs; counts what was asked."""

    def __init__(self):
        self.token = ""  # what requests must bring, if anything
        self.multi_user = False
        self.fail = {}  # (method, path) -> (status, body): asked for, this is answered instead
        self.pipelines, self.versions, self.experiments = [], [], []
        self.runs, self.recurring, self.asked = [], [], []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                url = urlparse(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                status, body = api.answer(
                    self.command,
                    url.path,
                    {key: each[0] for key, each in parse_qs(url.query).items()},
                    self.rfile.read(length),
                    self.headers.get("Authorization", ""),
                )
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method, path, query, body, authorization):
        """(status, body) of a request."""
        self.asked.append((method, path.removeprefix(BASE)))
        if self.token and authorization != f"Bearer {self.token}":
            return 401, error(16, "Request header error: there is no user identity header")
        if came := self.fail.get((method, path.removeprefix(BASE))):
            return came
        path = path.removeprefix(BASE).strip("/")
        if path == "healthz":
            return 200, {"multi_user": self.multi_user}
        if path == "pipelines":
            shown = [p for p in self.pipelines if p["namespace"] == query.get("namespace", "")]
            return 200, {"pipelines": wanted(shown, query)}
        if path == "pipelines/upload":
            namespace = query.get("namespace", "")
            taken = {(each["namespace"], each["display_name"]) for each in self.pipelines}
            if (namespace, query["name"]) in taken:
                told = f"Already exist error: The name {query['name']} already exist"
                return 409, {"error_message": told, "error_details": told}
            made = {"pipeline_id": f"pipeline-{len(self.pipelines)}", "display_name": query["name"]}
            made["namespace"] = namespace
            self.pipelines.append(made)
            self.version(made["pipeline_id"], query["name"], body)
            return 200, made
        if path == "pipelines/upload_version":
            return 200, self.version(query["pipelineid"], query["name"], body)
        if path.startswith("pipelines/") and path.endswith("/versions"):
            mine = [v for v in self.versions if v["pipeline_id"] == path.split("/")[1]]
            first = int(query.get("page_token") or 0)
            last = first + int(query.get("page_size") or 20)
            more = {"next_page_token": str(last)} if last < len(mine) else {}
            return 200, {"pipeline_versions": mine[first:last], **more}
        if path == "experiments" and method == "GET":
            return 200, {"experiments": wanted(self.experiments, query)}
        made = json.loads(body) if body else {}
        if path == "experiments":
            return 200, keep(self.experiments, "experiment_id", made)
        if path == "runs":
            return 200, keep(self.runs, "run_id", made)
        if path == "recurringruns" and method == "POST":
            made["status"] = "ENABLED"
            return 200, keep(self.recurring, "recurring_run_id", made)
        if path == "recurringruns":
            return 200, {"recurringRuns": self.recurring, "total_size": len(self.recurring)}
        if path.startswith("recurringruns/"):
            (mine,) = [
                r for r in self.recurring if path.split("/")[1].startswith(r["recurring_run_id"])
            ]
            if method == "DELETE":
                self.recurring.remove(mine)
            else:
                mine["status"] = "DISABLED" if path.endswith(":disable") else "ENABLED"
            return 200, {}
        return 404, error(5, f"Not Found: {path}")

    def version(self, pipeline_id, name, body):
        made = {"pipeline_id": pipeline_id, "display_name": name}
        assert b"schemaVersion: 2.1.0" in body
        return keep(self.versions, "pipeline_version_id", made)


def keep(found, key, made):
    made = {**made, key: f"{key.removesuffix('_id').replace('_', '-')}-{len(found)}"}
    found.append(made)
    return made


def wanted(found, query):
    """What a filter on the display name lets through."""
    predicates = json.loads(query["filter"])["predicates"] if "filter" in query else []
    names = [each.get("stringValue") or each.get("string_value") for each in predicates]
    return [each for each in found if not names or each["display_name"] in names]


def error(code, message):
    return {"error": message, "code": code, "message": message, "details": []}
