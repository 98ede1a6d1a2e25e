"""``internlm2 label`` and ``online_rlhf`` as they are typed: with an endpoint, with reward models, with people."""

import json
import re
import shlex
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from internlm2_align import ConversationEncoder, RewardModel, load_conditions
from internlm2_align.people import Queue
from internlm2_align.preferences.comparison import Judgement
from internlm2_align.reward.network import start_reward
from internlm2_core.text import load_tokenizer

from tests.command import internlm2, started

SIZES = {"layers": 1, "dim": 32, "num_kv_heads": 1, "q_per_kv": 1, "ffn_dim": 32, "head_dim": 32}


class Judge(BaseHTTPRequestHandler):
    """Prefers the reply that says yes."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        verdict = "A" if asked.index("yes") < asked.index("no") else "B"
        said = {"choices": [{"message": {"content": json.dumps({"verdict": verdict})}}]}
        self.server.asked += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *about: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Judge) as server:
        server.asked = 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def write(file: Path, records: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path, save_random_model: Callable[..., Path]) -> Path:
    sft = save_random_model(tmp_path / "sft", max_positions=256, **SIZES)
    encoder = ConversationEncoder(load_tokenizer(sft), load_conditions(), 256)
    model = RewardModel(partial(start_reward, sft), encoder)
    model.configure_model()
    model.save(tmp_path / "reward", sft)
    questions = [f"Is {number} a number?" for number in range(16)]
    pairs = [{"prompt": each, "replies": ["yes", "no"], "domain": "helpful"} for each in questions]
    write(tmp_path / "pairs.jsonl", pairs)
    write(tmp_path / "prompts.jsonl", [{"prompt": each, "domain": "helpful"} for each in questions])
    chosen = [{"prompt": each, "chosen": "yes", "rejected": "no", "domain": "helpful"} for each in questions]
    write(tmp_path / "preferences.jsonl", chosen)
    return tmp_path


def test_an_endpoint_and_a_reward_model_label(folder: Path, endpoint: Any) -> None:
    words = ("label", "input=pairs.jsonl", "heldout_share=0.3")
    judge = (f"annotator.base_url=http://127.0.0.1:{endpoint.server_port}/v1", "annotator.model=judge")
    told = internlm2(*words, "annotator=endpoint", *judge, "annotator.key_variable=null", "output=out", folder=folder)
    assert told.returncode == 0, told.stderr
    assert "judges 16 comparisons with 32 requests" in told.stdout and endpoint.asked == 32
    train, held = read(folder / "out/train.jsonl"), read(folder / "out/heldout.jsonl")
    assert len(train) + len(held) == 16 and held
    assert {(each["chosen"], each["meta"]["annotator"]) for each in train + held} == {
        ("yes", f"judge at http://127.0.0.1:{endpoint.server_port}/v1")
    }
    # What an endpoint has judged is not judged by another one.
    again = internlm2(*words, "annotator=reward", "annotator.models=reward", "output=out", folder=folder)
    assert again.returncode == 0, again.stderr
    assert read(folder / "out/train.jsonl") == train and endpoint.asked == 32
    alone = internlm2(*words, "annotator=reward", "annotator.models=[reward]", "output=alone", folder=folder)
    assert alone.returncode == 0, alone.stderr
    metrics = json.loads((folder / "alone/metrics.json").read_text())
    assert metrics["annotators"] == {"reward reward": 16}
    refused = internlm2("label", "annotator=endpoint", *judge, "input=pairs.jsonl", "output=x", folder=folder)
    assert refused.returncode == 1 and "key_variable=OPENAI_API_KEY names an environment variable" in refused.stderr


def test_a_round_waits_for_people(folder: Path) -> None:
    ppo = ("queries=4", "iterations=2", "validate_every=1", "heldout_limit=4", "settings.warmup_iterations=1")
    small = ("pretrain=null", "max_tokens=256", "sampling.max_new_tokens=6", "trainer.accelerator=cpu")
    words = (
        *("online_rlhf", "checkpoint=sft", "reward=reward", "preferences=[preferences.jsonl]", "rounds=1"),
        *("heldout_preferences=[]", "prompts=prompts.jsonl", "heldout_share=0.3", "max_prompt_tokens=200"),
        *("round.probe.sampling.max_new_tokens=6", "output=online", *(f"stages.ppo.{word}" for word in (*ppo, *small))),
    )
    waits = internlm2(*words, folder=folder)
    assert waits.returncode == 0, waits.stderr
    state = json.loads((folder / "online/state.json").read_text())
    assert "Round 1 waits for labels: helpful has 0 of" in state["status"] and state["status"] in waits.stdout
    composes = internlm2(*shlex.split(state["command"])[1:], "--cfg", "job", folder=folder)
    assert composes.returncode == 0, composes.stderr
    queue = Queue(folder / "online/round-1/labels")
    while asked := queue.next("Han Meimei"):
        queue.judge(Judgement(asked.id, "first", "Han Meimei", "2026-01-01T00:00:00+00:00"))
    done = internlm2(*words, "labels.least=5", folder=folder)
    assert done.returncode == 0, done.stderr
    [entry] = json.loads((folder / "online/metrics.json").read_text())["rounds"]
    assert entry["audit"]["labels"]["annotators"] == {"Han Meimei": state["labels"]["helpful"]["wanted"]}
    assert entry["audit"]["slow_pairs"] + entry["audit"]["heldout_pairs"] == state["labels"]["helpful"]["wanted"]
    assert (folder / "online/model/model.safetensors").is_file()


def test_people_label_on_the_page_that_the_command_serves(folder: Path) -> None:
    for name in ("out", "err"):
        (folder / name).touch()
    words = ("label", "annotator=people", "input=pairs.jsonl", "annotator.least=5", "output=labelled")
    page = started(*words, folder=folder, streams=folder)
    try:
        while not (found := re.search(r"Label at (http://\S+)/#(\S+)", (folder / "out").read_text())):
            assert page.exitcode is None, (folder / "err").read_text()
            time.sleep(0.1)

        def ask(path: str, **body: Any) -> dict[str, Any]:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {found[2]}"}
            data = json.dumps({"annotator": "Li Lei", "seat": "1", **body}).encode()
            opened = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            request = urllib.request.Request(f"{found[1]}/api/{path}", data, headers)
            answer: dict[str, Any] = json.load(opened.open(request, timeout=60))
            return answer

        shown = ask("next")["shown"]
        for number in range(5):
            verdict = "left" if shown["left"]["text"] == "yes" else "right"
            said = {"comparison": shown["comparison"], "verdict": verdict, "margin": 0.5, "request": str(number)}
            shown = ask("judge", **said)["shown"]
        page.join(120)
    finally:
        page.kill()
    assert page.exitcode == 0, (folder / "err").read_text()
    metrics = json.loads((folder / "labelled/metrics.json").read_text())["sets"]["train"]
    assert (metrics["comparisons"], metrics["pairs"], metrics["open"]) == (16, 5, 11)
    pairs = read(folder / "labelled/train.jsonl")
    assert {(each["chosen"], each["meta"]["annotator"]) for each in pairs} == {("yes", "Li Lei")}
    assert "11 of 16 comparisons have no judgement yet" in (folder / "err").read_text() + (folder / "out").read_text()


def test_replies_are_drawn_once(folder: Path) -> None:
    drawn = ("label", "prompts=prompts.jsonl", "checkpoint=sft", "samples=3", "sampling.max_new_tokens=6", "output=out")
    judge = ("annotator=reward", "annotator.models=reward")
    first = internlm2(*drawn, *judge, "heldout_share=0.3", folder=folder)
    assert first.returncode == 0, first.stderr
    metrics = json.loads((folder / "out/metrics.json").read_text())["sets"]
    assert metrics["train"]["counts"]["prompts"] == 16 and metrics["heldout"]["comparisons"] > 0
    assert sum(each["comparisons"] for each in metrics.values()) == len(read(folder / "out/judgements.jsonl"))
    other = internlm2(*drawn, *judge, "heldout_share=0.3", "samples=4", folder=folder)
    assert other.returncode == 1 and "other settings (samples was 3, is now 4)" in other.stderr
