"""A judge of the tests' own behind an endpoint on the loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from internlm2_align.judged import Judge


@pytest.fixture
def endpoint():
    """Serves ``answer(text)``, the text of the last message, or a status code. Keeps the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.requests.append(body)
            found = self.server.answer(body["messages"][-1]["content"])
            self.send_response(found if isinstance(found, int) else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": found}}]}).encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests, server.answer = [], lambda text: "Rating: [[5]]"
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def make_judge(endpoint):
    def make(**changes):
        keys = {"key_variable": None, "first_wait_s": 0.001, "retries": 1, "timeout_s": 20}
        return Judge(endpoint.url, "judge-7b", **(keys | changes))

    return make


@pytest.fixture
def write(tmp_path):
    """Writes JSON lines, or JSON where the name says so."""

    def written(name, *records):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        path.write_text(json.dumps(records[0], ensure_ascii=False) if name.endswith(".json") else lines)
        return path

    return written
