"""The judge is asked within its limits, and nothing is paid for twice."""

import pytest
from internlm2_align.kept import Kept


def requests(*texts):
    return {f"q{place}": [{"role": "user", "content": text}] for place, text in enumerate(texts)}


def ignore(done, total):
    assert 0 < done <= total


def test_an_estimate_comes_first_and_limits_hold(endpoint, make_judge, tmp_path, capsys):
    kept = Kept(tmp_path / "kept.jsonl")
    judge = make_judge(price_in=10, price_out=20)
    said = judge.ask(requests("a" * 400, "中" * 50), kept, ignore)
    assert set(said.answers) == {"q0", "q1"} and not said.failed
    # 100 and 50 tokens in, 250 out each.
    sentence = "2 requests (0 are answered already), about 150 tokens in and 500 out, at a cost of about 0.01"
    assert sentence in capsys.readouterr().out
    for limit, sentence in (
        ({"max_requests": 1}, "max_requests=1 is too few. .*3 requests .*Nothing was asked"),
        ({"max_cost": 0.001, "price_in": 10, "price_out": 20}, "max_cost=0.001 is too low. .*Nothing was asked"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make_judge(**limit).ask(requests("x", "y", "z"), kept, ignore)
    with pytest.raises(ValueError, match="max_cost=1 needs price_in=None and price_out=None as numbers"):
        make_judge(max_cost=1)
    assert len(endpoint.requests) == 2
    assert endpoint.requests[0]["temperature"] == 0 and endpoint.requests[0]["model"] == "judge-7b"


def test_what_was_answered_is_not_asked_again(endpoint, make_judge, tmp_path):
    refused = []

    def sometimes(text):
        refused.append(text)
        return 500 if text == "bad" else f"said {text}"

    endpoint.answer = sometimes
    file = tmp_path / "kept.jsonl"
    first = make_judge().ask(requests("one", "bad", "one"), Kept(file), ignore)
    assert first.answers == {"q0": "said one", "q2": "said one"} and first.failed == {"overloaded": 1}
    assert refused.count("one") == 1 and refused.count("bad") == 2  # asked, and repeated once
    endpoint.answer = lambda text: "later"
    second = make_judge().ask(requests("one", "bad", "one"), Kept(file), ignore)
    assert second.answers == {"q0": "said one", "q1": "later", "q2": "said one"} and not second.failed
    assert '"judge": "judge-7b at http://127.0.0.1' in file.read_text()


def test_an_endpoint_that_is_gone_ends_it(make_judge, tmp_path, endpoint):
    judge = make_judge(retries=0, concurrency=1)
    judge.client.base_url = "http://127.0.0.1:9/v1"
    with pytest.raises(ValueError, match="cannot be reached"):
        judge.ask(requests(*map(str, range(30))), Kept(tmp_path / "kept.jsonl"), ignore)


def test_a_killed_run_leaves_half_a_line(tmp_path):
    file = tmp_path / "kept.jsonl"
    Kept(file).add([("a", 1), ("b", {"x": [1]})])
    file.write_bytes(file.read_bytes() + b'{"key": "c", "va')
    kept = Kept(file)
    assert len(kept) == 2 and kept["b"] == {"x": [1]} and "c" not in kept
    kept.add([("c", 3)])
    assert Kept(file)["c"] == 3
    file.write_text('{"key": 1}\n')
    with pytest.raises(ValueError, match=r"kept\.jsonl, line 1 is not a kept answer: 'value'"):
        Kept(file)
