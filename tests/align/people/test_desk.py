"""What the page is answered, and the HTTP around it."""

import http.client
import json
import sqlite3
import threading

import pytest
from internlm2_align.people import Queue, label_by_people
from internlm2_align.people.desk import Desk
from internlm2_align.people.labelling import is_enough
from internlm2_align.people.server import LONGEST_BODY, LabelServer
from internlm2_align.reward.conditions import UnknownDomainError, load_conditions

TOKEN = "a-token"


@pytest.fixture
def desk(tmp_path, comparisons):
    return Desk(Queue(tmp_path, comparisons(3)), load_conditions())


@pytest.fixture
def server(desk):
    with LabelServer(desk, TOKEN) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def post(server, path="next", body=None, method="POST", **headers):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    text = json.dumps({"annotator": "ann", "seat": "1"} if body is None else body)
    connection.request(
        method, f"/api/{path}", text, {name: value for name, value in given.items() if value is not None}
    )
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_left_and_right_become_first_and_second(desk):
    for number, verdict in enumerate(("left", "right", "tie")):
        shown = desk.next({"annotator": "ann", "seat": "1"})["shown"]
        body = {"annotator": "ann", "seat": "1", "comparison": shown["comparison"], "verdict": verdict, "margin": 0.5}
        answer = desk.judge({**body, "request": str(number), "remark": " why "})
        said = desk.queue.judgements()[-1]
        replies = {"first": f"red {number}", "second": f"blue {number}"}
        if verdict == "tie":
            assert (said.judgement.verdict, said.judgement.margin) == ("tie", 0.0)
        else:
            assert shown[verdict]["text"] == replies[said.judgement.verdict]
            assert said.left == (verdict == "left") and said.judgement.margin == 0.5
        assert said.judgement.remark == "why"
    assert answer["shown"] is None
    assert answer["progress"] == {
        "mine": 3, "decided": 3, "disagreed": 0, "wanted": 3,
        "domains": {"helpful": {"decided": 3, "disagreed": 0, "wanted": 3}},
    }  # fmt: skip
    undone = desk.undo({"annotator": "ann", "seat": "1"})
    assert undone["undone"] == {"annotator": "ann", "verdict": "tie", "margin": 0.0, "remark": "why"}
    assert undone["shown"]["comparison"] == "helpful2" and undone["role"] == "label"


def test_the_condition_and_disagreements_are_shown(tmp_path, comparisons, says):
    desk = Desk(Queue(tmp_path, comparisons(1, "maths", language="zh"), annotators_per=2), load_conditions())
    assert desk.next({"annotator": "ann"})["shown"]["condition"] == "结果正确吗？"
    for name, verdict in (("ann", "first"), ("bob", "second")):
        desk.queue.judge(says(name, "maths0", verdict, remark=f"by {name}"))
    shown = desk.next({"annotator": "cleo", "role": "resolution"})["shown"]
    assert {each["remark"]: shown[each["verdict"]]["text"] for each in shown["said"]} == {
        "by ann": "red 0",
        "by bob": "blue 0",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotator": " "}, "annotator='' must be a name"),
        ({"annotator": "a" * 65}, "annotator=.* must be a text of at most 64 characters"),
        ({"verdict": "first"}, "verdict='first' must be left, right"),
        ({"verdict": "best"}, "verdict='best' must be one of"),
        ({"margin": "much"}, "margin='much' must be a number"),
        ({"margin": 2}, "margin=2.0 must be from 0 to 1"),
        ({"remark": "a" * 4001}, "remark=.* must be a text of at most 4000 characters"),
        ({"remark": "\ud800"}, "surrogates not allowed"),
        ({"role": "boss"}, "role='boss' must be one of label, resolution"),
        ({"request": ""}, "request='' must name this call"),
        ({"comparison": "other"}, "comparison='other' is not in"),
    ],
)
def test_refused_bodies_change_nothing(desk, change, words):
    good = {"annotator": "ann", "comparison": "helpful0", "verdict": "left", "request": "1"}
    with pytest.raises(ValueError, match=words):
        desk.judge(good | change)
    assert desk.queue.judgements() == []


def test_the_token_is_needed_and_the_page_holds_nothing(server):
    assert post(server)[0] == 200
    for given in ("Bearer a-tokeN", "Bearer ", None, "Bearer é"):
        assert post(server, Authorization=given) == (401, {"error": "The token is wrong."})
    assert server.address.endswith(f"/#{TOKEN}") and server.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:9"}, 200),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
        ({"Host": "localhost:1", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:1", "Origin": "null"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": "many"}, 411),
        ({"Content_Length": str(LONGEST_BODY + 1)}, 413),
    ],
)
def test_who_may_ask_and_how(server, headers, status):
    assert post(server, **headers)[0] == status


def test_a_refusal_arrives_whatever_was_sent_with_it(server):
    for _ in range(20):
        assert post(server, body={"remark": "a" * 60_000}, Authorization="Bearer wrong")[0] == 401


def test_what_cannot_be_written_may_be_sent_again(server, monkeypatch):
    def full(body):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setitem(server.desk.paths, "judge", full)
    assert post(server, "judge") == (503, {"error": "database or disk is full"})


def test_a_port_that_is_taken_is_named(desk, server):
    port = server.server_address[1]
    with pytest.raises(ValueError, match=f"port={port} of host=127.0.0.1 cannot be listened at: .*in use"):
        LabelServer(desk, TOKEN, port=port)
    with pytest.raises(ValueError, match=r"port=70000 of host=127.0.0.1 cannot be listened at"):
        LabelServer(desk, TOKEN, port=70000)


def test_paths_and_bodies_that_are_none(server):
    assert post(server, "shutdown")[0] == 404
    assert post(server, "../page.js", method="GET")[0] == 404
    assert post(server, body=[])[0] == 400
    assert post(server, "export", {"format": "xml"}) == (
        400,
        {"error": "format='xml' must be one of pairs, judgements, label_studio."},
    )
    assert post(server, "figures", {})[1]["schema"] == "internlm2/align/people/1"


def test_every_answer_forbids_scripts_of_others(server):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    for path in ("/", "/page.js", "/words.js", "/nothing"):
        connection.request("GET", path)
        response = connection.getresponse()
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "require-trusted-types-for" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.read()
        connection.close()


def test_serving_ends_by_itself_when_enough_is_decided(tmp_path, comparisons):
    lines = []
    both = [*comparisons(3), *comparisons(1, "maths")]
    settings = {"least": {"helpful": 2}, "say": lines.append, "token": TOKEN}
    thread = threading.Thread(target=label_by_people, args=(both, tmp_path), kwargs=settings, daemon=True)
    thread.start()
    while not lines:
        thread.join(0.01)
    port = int(lines[0].split(":")[2].partition("/")[0])
    for number in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        body = {"annotator": "ann", "comparison": f"helpful{number}", "verdict": "left", "request": str(number)}
        connection.request("POST", "/api/judge", json.dumps(body), headers)
        assert connection.getresponse().status == 200
    thread.join(30)
    assert not thread.is_alive()
    assert lines[-1] == "helpful: 2 of 3 decided\nmaths: 0 of 1 decided"
    queue = label_by_people(both, tmp_path, **settings)  # Enough already: it does not serve.
    assert len(queue.decided()) == 2 and len(lines) == 2


def test_the_token_of_a_folder_stays_and_is_its_owners(tmp_path, comparisons):
    from internlm2_align.people.labelling import TOKEN_FILE, token_in

    token = token_in(tmp_path)
    assert len(token) >= 32 and token_in(tmp_path) == token
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600


def test_how_much_is_enough(tmp_path, comparisons, says):
    queue = Queue(tmp_path, [*comparisons(3), *comparisons(1, "maths")])
    queue.judge(says("ann", "helpful0"))
    queue.judge(says("ann", "maths0"))
    assert not is_enough(queue, None) and is_enough(queue, 0) and is_enough(queue, 1)
    assert not is_enough(queue, 2) and not is_enough(queue, {"helpful": 2})
    assert is_enough(queue, {"maths": 5})  # It has one alone.
    with pytest.raises(ValueError, match=r"least names 'poetry', which has no comparisons. There are helpful, maths"):
        is_enough(queue, {"poetry": 1})
    with pytest.raises(ValueError, match="least=-1 must be 0 or more"):
        is_enough(queue, -1)


def test_a_domain_without_condition_prompt_is_refused_before_anything_is_served(tmp_path, comparisons):
    with pytest.raises(UnknownDomainError, match="Domain 'colours' has no condition prompt"):
        label_by_people(comparisons(1, "colours"), tmp_path)
