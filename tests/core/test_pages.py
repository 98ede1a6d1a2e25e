"""What the parts of the how-to pages do. That the code of every page runs is tested in tests/docs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "packages/core"


def run_page(page: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": page}
    for block in re.findall(r"```python\n(.*?)```", (PACKAGE / page).read_text(encoding="utf-8"), re.S):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.fixture
def folders(tmp_path: Path, save_random_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages name: models, and records with an instruction."""
    for name in ("model", "runs/sft/model"):
        save_random_model(
            tmp_path / name, layers=1, dim=32, num_kv_heads=1, q_per_kv=2, ffn_dim=48, head_dim=8, max_positions=512
        )
    messages = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    check = {"kind": "number", "value": 2}
    record = {"id": "1", "task": "add", "language": "en", "messages": messages, "check": check}
    (tmp_path / "heldout.jsonl").write_text(json.dumps(record) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_back_end_of_the_page_trains(folders: Path) -> None:
    import torch
    from internlm2_core import ModelSize
    from internlm2_core.checkpoint.start import start_model

    size = ModelSize(1, 16, 2, 2, 24, vocab_size=60, head_dim=8)
    own = run_page("docs/add-an-attention-back-end.md")["ExplicitAttend"]
    ids = torch.randint(0, 60, (2, 12), generator=torch.Generator().manual_seed(1))
    positions = torch.tensor([[*range(5), *range(7)], list(range(12))])
    losses, gradients = [], []
    for attend in ("masked", own, own(), own().forward):
        net = start_model(size, attend=attend)
        loss = net(ids, positions, labels_BT=ids.roll(-1, 1)).cross_entropy
        loss.backward()
        losses.append(loss)
        gradients.append(net.model.layers[0].attention.wqkv.weight.grad)
    for loss, gradient in zip(losses[1:], gradients[1:], strict=True):
        torch.testing.assert_close(loss, losses[0])
        torch.testing.assert_close(gradient, gradients[0])


def test_the_engine_of_the_page_answers_each_prompt_once(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from internlm2_core import LocalEngine, Sampling

    names = run_page("docs/add-an-engine.md")
    net, own, sampling = names["net"], names["RememberingEngine"], Sampling(max_new_tokens=3, temperature=0)
    local = LocalEngine(net)
    expected = local.generate([[5, 6], [7], [5, 6]], sampling)
    engine, asked = own(net), []
    monkeypatch.setattr(
        engine.engine, "generate", lambda prompts, s: asked.extend(prompts) or local.generate(prompts, s)
    )
    assert engine.generate([[5, 6], [7], [5, 6]], sampling) == expected
    assert engine.generate([[7]], sampling) == [expected[1]]
    assert asked == [(5, 6), (7,)]
