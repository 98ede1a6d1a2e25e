"""The LightningModule: it learns conflicting domains, resumes exactly, saves and loads, and answers small calls."""

from collections import Counter
from dataclasses import replace
from functools import partial

import lightning as L
import pytest
import torch
from internlm2_align import RewardModel, load_conditions
from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.conditions import Conditions, without_conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.pairs import PairBatches, encode_pairs
from internlm2_align.reward.scoring import Scorer
from internlm2_core.checkpoint.released import save_released
from internlm2_core.jobs import convert
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text.tokenizer import load_tokenizer
from transformers import AutoModelForSequenceClassification

SHORT = Conditions({"helpful": {"en": "H"}, "harmless": {"en": "S"}})
PROMPT = [{"role": "user", "content": "q7"}]


def conflicting(count):
    """The same two replies, preferred one way as helpful and the other way as harmless."""
    pairs = []
    for index in range(count):
        prompt = ({"role": "user", "content": f"q{index}"},)
        pairs.append(Preference("helpful", prompt, "yes", "no"))
        pairs.append(Preference("harmless", prompt, "no", "yes"))
    return pairs


@pytest.fixture
def make(language_model, tokenizer):
    encoder = ConversationEncoder(tokenizer, SHORT, 200)
    start = {name: value.clone() for name, value in language_model.state_dict().items()}

    def net():
        language_model.load_state_dict(start)
        return from_language_model(language_model, torch.Generator().manual_seed(0))

    return partial(RewardModel, net, encoder, optimizer=partial(torch.optim.AdamW, lr=3e-3))


def trainer(folder, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return L.Trainer(
        default_root_dir=folder, use_distributed_sampler=False, num_sanity_val_steps=0, **(quiet | settings)
    )


def loader(model, budget=1200):
    return PairBatches(budget, seed=1).loader(encode_pairs(conflicting(24), model.encoder, Counter()))


def test_rows_change_neither_loss_nor_weights(make, tmp_path):
    results = []
    for row_tokens in (0, 200):
        model = make()
        batches = PairBatches(1200, seed=1, row_tokens=row_tokens)
        pairs = batches.loader(encode_pairs(conflicting(24), model.encoder, Counter()))
        fit = trainer(tmp_path, max_epochs=2, enable_checkpointing=False)
        fit.fit(model, pairs)
        results.append((fit.callback_metrics["train/loss"], [weight.detach().clone() for weight in model.parameters()]))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


def test_mixed_precision_steps_a_fused_optimizer_and_keeps_scores_in_float32(make, tmp_path):
    model = make(optimizer=partial(torch.optim.AdamW, lr=3e-3, fused=True))
    fit = trainer(tmp_path, max_steps=4, enable_checkpointing=False, precision="bf16-mixed")
    fit.fit(model, loader(model))
    extreme = fit.callback_metrics["train/largest_score"]
    assert extreme != extreme.bfloat16(), "a score that bfloat16 cannot hold"
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_learns_preferences_that_conflict_by_condition_alone(make, tmp_path):
    model = make()
    fit = trainer(tmp_path, max_epochs=25, enable_checkpointing=False)
    fit.fit(model, loader(model), val_dataloaders=loader(model))
    assert fit.callback_metrics["valid/accuracy/helpful"] == 1
    assert fit.callback_metrics["valid/accuracy/harmless"] == 1
    yes, no = ([*PROMPT, {"role": "assistant", "content": reply}] for reply in ("yes", "no"))
    assert model.score(yes, domain="helpful") > model.score(no, domain="helpful")
    assert model.score(yes, domain="harmless") < model.score(no, domain="harmless")
    assert model.rank(PROMPT, ["no", "yes"], domain="helpful") == [1, 0]
    assert model.compare(PROMPT, "yes", "no", domain="helpful") > 0.5
    assert model.compare(PROMPT, "yes", "no", domain="harmless") < 0.5


def test_resumes_in_mid_epoch_with_the_weights_of_an_undisturbed_run(make, tmp_path):
    whole = make()
    trainer(tmp_path, max_steps=9, enable_checkpointing=False).fit(whole, loader(whole))

    half = make()
    stopped = trainer(tmp_path, max_steps=4, enable_checkpointing=False)
    stopped.fit(half, loader(half))
    stopped.save_checkpoint(tmp_path / "half.ckpt")
    resumed = make()
    assert len(loader(resumed)) not in (4, 9), "the checkpoint should lie inside an epoch"
    trainer(tmp_path, max_steps=9, enable_checkpointing=False).fit(
        resumed, loader(resumed), ckpt_path=tmp_path / "half.ckpt"
    )
    for ours, theirs in zip(resumed.net.parameters(), whole.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_loss_and_gradient_do_not_depend_on_prompt_sharing(make, tmp_path):
    nets = []
    for share in (True, False):
        model = make()
        encoded = encode_pairs(conflicting(4), model.encoder, Counter(), share_prompts=share)
        batches = PairBatches(4000, share_prompts=share).loader(encoded, shuffle=False)
        model.make_optimizer = partial(torch.optim.SGD, lr=0.1)
        trainer(tmp_path, max_steps=1, enable_checkpointing=False).fit(model, batches)
        nets.append(model.net)
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_saves_and_loads_with_its_conditions(make, tmp_path, tokenizer_file):
    model = make()
    model.configure_model()
    model.save(tmp_path / "reward", tokenizer_file)
    again = RewardModel.load(tmp_path / "reward")
    assert again.encoder.conditions == SHORT
    for ours, theirs in zip(again.net.parameters(), model.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_folder_without_a_head_is_no_reward_model(language_model, size, tmp_path, tokenizer_file):
    save_released(tmp_path / "sft", size, language_model.state_dict().items(), tokenizer_file)
    # Before its conditions are missed, which such a folder does not have either.
    with pytest.raises(ValueError, match=r"sft holds no v_head\.weight .*so it is not a reward model"):
        RewardModel.load(tmp_path / "sft")
    (tmp_path / "sft" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"holds no v_head\.weight"):
        RewardModel.load(tmp_path / "sft", conditions=SHORT)


def test_bad_calls_are_refused_in_words(make):
    model = make()
    model.configure_model()
    reply = {"role": "assistant", "content": "a"}
    with pytest.raises(ValueError, match="'law'"):
        model.score([*PROMPT, reply], domain="law")
    with pytest.raises(ValueError, match="ends in an assistant turn"):
        model.score(PROMPT, domain="helpful")
    with pytest.raises(ValueError, match="the limit is 200"):
        model.score([*PROMPT, reply | {"content": "a" * 300}], domain="helpful")


def test_a_call_of_a_tool_is_scored(make):
    model = make()
    model.configure_model()
    said = {"role": "assistant", "content": "x"}
    call = said | {"tool_call": {"tool": "<|plugin|>", "content": "{}"}}
    plain, called = (model.score([*PROMPT, reply], domain="helpful") for reply in (said, call))
    theirs = said | {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    assert len({plain, called, model.score([*PROMPT, theirs], domain="helpful")}) == 3
    assert model.compare(PROMPT, call, "x", domain="helpful") == pytest.approx(
        torch.tensor(called - plain).sigmoid().item(), abs=1e-5
    )


def test_many_scores_keep_their_order(make):
    model = make()
    model.configure_model()
    conversations = [[*PROMPT, {"role": "assistant", "content": "a" * (1 + 7 * i % 11)}] for i in range(20)]
    alone = [model.score(conversation, domain="helpful") for conversation in conversations]
    together = model.scorer(budget_tokens=150).conversations(conversations, ["helpful"] * 20, ["en"] * 20)
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_condition_decides_the_score(make):
    """Under the built-in table every domain scores by itself; without prompts all agree."""
    model = make()
    model.configure_model()
    conversation = [*PROMPT, {"role": "assistant", "content": "yes"}]

    def scores(table):
        encoder = ConversationEncoder(model.encoder.tokenizer, table, 500)
        scorer = Scorer(model.net, encoder, 2000)
        return scorer.conversations([conversation] * len(table.domains), table.domains, ["en"] * len(table.domains))

    apart, alike = scores(load_conditions()), scores(without_conditions())
    assert len({round(score, 4) for score in apart}) == 8
    assert max(alike) - min(alike) < 1e-5


def test_scores_are_those_of_transformers_classifier(make, tmp_path, tokenizer_file):
    """RewardModel -> folder -> Llama classifier: Transformers gives the scores of whole conversations."""
    vocabulary = load_tokenizer(tokenizer_file)
    model = make()
    model.encoder = ConversationEncoder(vocabulary, load_conditions(), 800)
    size = replace(model.make_net().size, vocab_size=vocabulary.vocab_size, max_positions=1024)
    network = LanguageModel(size)
    network.init_weights(torch.Generator().manual_seed(2), std=0.1)
    model.make_net = partial(from_language_model, network, torch.Generator().manual_seed(1))
    model.configure_model()
    model.save(tmp_path / "reward", tokenizer_file)
    convert(str(tmp_path / "reward"), str(tmp_path / "classifier"), "llama")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    prompt = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "你好 and 3 + 3?"},
    ]
    classifier = RewardModel.load(tmp_path / "classifier", max_tokens=800)
    assert classifier.encoder.conditions == load_conditions()
    found = []
    for domain, reply in (("maths", "The answer is 6."), ("harmless", "答案是六。")):
        group = model.encoder.group(prompt, [reply], domain)
        ids = torch.tensor([[*group.prompt, *group.replies[0]]])
        assert ids[0, -1] == vocabulary.special("[UNUSED_TOKEN_130]")
        with torch.no_grad():
            expected = theirs(ids).logits.item()
        conversation = [*prompt, {"role": "assistant", "content": reply}]
        assert model.score(conversation, domain=domain) == pytest.approx(expected, abs=1e-4)
        assert classifier.score(conversation, domain=domain) == pytest.approx(expected, abs=1e-4)
        found.append(expected)
    assert abs(found[0] - found[1]) > 1e-2


def test_a_model_without_its_table_is_not_scored_by_another(make, tmp_path, tokenizer_file):
    model = make()
    model.configure_model()
    model.save(tmp_path / "reward", tokenizer_file)
    (tmp_path / "reward" / "conditions.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no conditions\.yaml.*unconditional: true.*conditions="):
        RewardModel.load(tmp_path / "reward")
    assert RewardModel.load(tmp_path / "reward", SHORT).encoder.conditions == SHORT
