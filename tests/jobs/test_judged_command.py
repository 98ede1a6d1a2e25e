"""`internlm2 evaluate` of suites that a judge decides, by the command, of a model and of a file of answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest
from internlm2_core import evaluation

from tests.command import internlm2

RATED = "{'事实正确性': 9, '综合得分': 4} [[6]]"


@pytest.fixture
def url() -> Iterator[str]:
    """An endpoint that rates everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": RATED}}]}).encode())

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def write(name: str, *records: object) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(json.dumps(records[0]) if name.endswith(".json") else lines)


@pytest.fixture
def folder(with_sft_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, and files of benchmarks, in the current folder."""
    monkeypatch.chdir(with_sft_model)
    write("data/mt_bench/question.jsonl", {"question_id": 1, "category": "stem", "turns": ["a", "b"]})
    names = ("single-v1", "single-v1-multi-turn")
    prompts = [{"name": name, "system_prompt": "s", "prompt_template": "{answer}{answer_2}"} for name in names]
    write("data/mt_bench/judge_prompts.jsonl", *prompts)
    write("data/mt_bench/reference_gpt-4.jsonl", {"question_id": 9, "answer": "x"})
    question = {"question_id": 1, "category": "数学计算", "subcategory": "数", "question": "q", "reference": "r"}
    write("data/AlignBench/data/data_v1.1_release.jsonl", question)
    write("data/AlignBench/config/subcategory_question_mapping.json", {"数": "推理"})
    write("data/AlignBench/config/dimension_set.json", {"推理": ["事实正确性"]})
    write("data/AlignBench/config/dimension_definition.json", {"事实正确性": "d"})
    write("answers.jsonl", {"question_id": 1, "answer": "2"})
    return with_sft_model


def evaluated(suite: str, url: str, *words: str) -> dict[str, object]:
    judge = (f"judge.base_url={url}", "judge.model=j", "judge.key_variable=null")
    given = (f"suite={suite}", "data=data", *judge, f"output=out/{suite}", "device=cpu", *words)
    done = internlm2("evaluate", *given, folder=Path.cwd())
    if done.returncode:
        raise ValueError(done.stderr)
    metrics = json.loads(Path(f"out/{suite}/metrics.json").read_text())
    schema = json.loads((Path(evaluation.__file__).parent / "schema.json").read_text())
    jsonschema.validate(metrics, schema)
    found: dict[str, object] = metrics["tasks"][suite]
    return found


@pytest.mark.usefixtures("folder")
def test_a_model_and_a_file_are_judged(url: str) -> None:
    of_model = evaluated("mt_bench", url, "checkpoint=sft", "+suite.mt_bench.answers.max_new_tokens=4")
    assert (of_model["score"], of_model["judged"], of_model["judge"]) == (6, 2, f"j at {url}")
    assert Path("out/mt_bench/judged/mt_bench/answers.jsonl").read_text().count("\n") == 2
    of_file = evaluated("align_bench", url, "checkpoint=null", "responses=answers.jsonl")
    assert (of_file["score"], of_file["reasoning"], of_file["language"]) == (4, 4, None)
    with pytest.raises(ValueError, match="max_requests=0 is too few"):
        evaluated(
            "align_bench", url, "checkpoint=null", "responses=answers.jsonl", "judge.max_requests=0", "output=new"
        )
