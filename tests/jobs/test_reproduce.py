"""The whole chain with next to no data: that it runs, repeats nothing, and ends in a model that others load."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command import internlm2

pytestmark = pytest.mark.slow


def command(*words: str, folder: Path) -> CompletedProcess[str]:
    result = internlm2(*words, folder=folder, timeout_s=900)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    command("reproduce", "experiment=smoke", "paths.output=run", folder=folder)
    return folder


def manifests(folder: Path) -> dict[str, dict[str, object]]:
    return {file.parent.name: json.loads(file.read_text()) for file in (folder / "run").glob("*/manifest.json")}


def test_every_stage_leaves_hashes(folder: Path) -> None:
    found = manifests(folder)
    assert {
        "web",
        "pretrain_4k",
        "pretrain_32k",
        "pretrain_enhancement",
        "sft",
        "reward",
        "online_rlhf",
        "chat",
    } <= set(found)
    assert all(manifest["outputs"] for manifest in found.values())
    command("verify", "folder=run", folder=folder)


def test_the_data_stages_name_their_outputs_and_reasons(folder: Path) -> None:
    web = folder / "run" / "web"
    for stage in ("format", "clean", "dedup", "safe", "high_quality", "excluded"):
        assert any((web / stage).iterdir()), stage
    assert (web / "funnel.json").is_file()


def test_a_deleted_stage_and_its_descendants_alone_run_again(folder: Path) -> None:
    before = {name: manifest["build"] for name, manifest in manifests(folder).items()}
    shutil.rmtree(folder / "run" / "chat")
    command("reproduce", "experiment=smoke", "paths.output=run", folder=folder)
    after = {name: manifest["build"] for name, manifest in manifests(folder).items()}
    assert {name for name in before if before[name] != after[name]} == {"chat", "report"}


def test_the_report_is_one_page_and_names_what_is_simulated(folder: Path) -> None:
    page = (folder / "run" / "report" / "report.html").read_text()
    assert "simulated" in page.lower()
    assert 'src="http' not in page and 'href="http' not in page.replace('href="https://arxiv.org', "")
    assert json.loads((folder / "run" / "report" / "report.json").read_text())


def test_the_chat_model_has_a_card_with_its_own_figures(folder: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "run" / "chat" / "README.md")
    measured = json.loads((folder / "run" / "evaluate_chat" / "metrics.json").read_text())["tasks"]
    shown = {(one.dataset_name, one.metric_type): one.metric_value for one in card.data.eval_results}
    assert shown["instructions", "accuracy"] == measured["instructions"]["accuracy"]
    assert {name for name, _ in shown} == set(measured)
    assert "simulated annotator" in card.text


def test_transformers_loads_the_chat_model_and_the_command_answers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chat = folder / "run" / "chat"
    model = AutoModelForCausalLM.from_pretrained(chat)
    tokenizer = AutoTokenizer.from_pretrained(chat)
    messages = [{"role": "user", "content": "1+1=?"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    new = model.generate(**ids, max_new_tokens=8, do_sample=False, eos_token_id=end)[0, ids["input_ids"].shape[1] :]
    expected = tokenizer.decode(new).split("<|im_end|>")[0].split("</s>")[0]
    words = ["generate", f"checkpoint={chat}", "prompt='1+1=?'", "temperature=0", "max_new_tokens=8"]
    assert command(*words, folder=folder).stdout == expected + "\n"
