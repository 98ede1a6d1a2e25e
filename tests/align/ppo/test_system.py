"""PPOSystem on a toy: it learns, warms up, resumes exactly, and keeps the condition from the actor."""

from dataclasses import replace
from functools import partial

import lightning as L
import pytest
import torch
from internlm2_align import PPOSystem
from internlm2_align.ppo import responses, updates
from internlm2_align.ppo import rollout as rollout_module
from internlm2_align.ppo.critic import without_head
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompts import HeldOutQueries, QueryLoader
from internlm2_align.ppo.sampling import sample_and_score
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.scoring import Scorer
from internlm2_align.roles import Roles
from internlm2_align.roles.on_ray import RayEngines
from internlm2_align.roles.on_vllm import VLLMActor
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text.tokenizer import ByteTokenizer
from internlm2_core.training import NotFiniteError

CONDITIONS = Conditions({"maths": {"en": "MM"}, "format": {"en": "F"}})


class Latin1Tokenizer(ByteTokenizer):
    """Every byte is a letter, so that whatever a random actor says is the text that it seems."""

    def encode(self, text):
        return list(text.encode("latin-1"))

    def decode(self, ids):
        return "".join(self.pieces()[i] for i in ids)


@pytest.fixture
def encoder():
    return ConversationEncoder(Latin1Tokenizer(), CONDITIONS, 200)


@pytest.fixture
def prompts(encoder):
    found = []
    for index in range(12):
        messages = ({"role": "user", "content": str(index)},)
        domain = "maths" if index % 2 else "format"
        found.append(Prompt(messages, tuple(encoder.chat.prompt(messages)), domain))
    return found


@pytest.fixture
def make(language_model, size, encoder):
    start = {name: value.clone() for name, value in language_model.state_dict().items()}

    def model():
        net = LanguageModel(size)
        net.load_state_dict(start)
        return net

    def reward():
        net = from_language_model(model(), torch.Generator().manual_seed(5))
        net.v_head.weight.data *= 10  # random replies differ by about one point
        return net

    roles = Roles(actor=model, critic=lambda: without_head(reward()), reference=model, reward=reward)

    def build(warmup=0, **changes):
        return PPOSystem(
            roles,
            encoder,
            sampling=Sampling(max_new_tokens=6, top_p=0.9),
            settings=PPOSettings(warmup_iterations=warmup, mini_batches=2, **changes),
            actor_optimizer=partial(torch.optim.AdamW, lr=5e-3),
            critic_optimizer=partial(torch.optim.AdamW, lr=3e-3),
        )

    return build


def text_batches():
    ids = torch.randint(0, 200, (4, 16), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(16).expand(4, 16)}
    return [batch]


def fit(system, prompts, iterations, folder, resume=None, valid=False, **settings):
    trainer = L.Trainer(
        max_epochs=1, default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
        num_sanity_val_steps=0, **settings,
    )  # fmt: skip
    loader = QueryLoader(prompts, 12, iterations, pretrain=text_batches())
    trainer.fit(system, loader, HeldOutQueries(prompts, 12) if valid else None, ckpt_path=resume)
    return trainer


def copy_of(net):
    return [weight.detach().clone() for weight in net.parameters()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_it_raises_the_reward_it_is_given(make, prompts, tmp_path):
    system = make(warmup=4, kl_coefficient=0.0, pretrain_coefficient=0.0)
    fit(system, prompts, 60, tmp_path)
    rewards = [entry["train/reward"] for entry in system.history]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 2


def test_mixed_precision_steps_fused_optimizers(make, prompts, tmp_path):
    system = make()
    system.make_optimizers = (partial(torch.optim.AdamW, lr=1e-3, fused=True),) * 2
    fit(system, prompts, 2, tmp_path, precision="bf16-mixed")
    after = copy_of(system.actor)
    assert not same(copy_of(make().roles.actor()), after) and all(weight.isfinite().all() for weight in after)


def test_warm_up_trains_the_critic_alone(make, prompts, tmp_path):
    system = make(warmup=8)
    system.configure_model()
    actor, critic, reference, reward = (
        copy_of(net) for net in (system.actor, system.critic, system.reference, system.reward)
    )
    fit(system, prompts, 8, tmp_path)
    assert same(copy_of(system.actor), actor)
    assert not same(copy_of(system.critic), critic)
    assert all(entry["critic_only"] and "train/policy_loss" not in entry for entry in system.history)
    assert system.history[-1]["train/value_loss"] < system.history[0]["train/value_loss"]
    fit(system, prompts, 2, tmp_path)
    assert not same(copy_of(system.actor), actor)
    assert same(copy_of(system.reference), reference) and same(copy_of(system.reward), reward)


def test_the_reference_term_holds_the_actor(make, prompts, tmp_path):
    divergence = []
    for kl_coefficient in (0.0, 1.0):
        system = make(kl_coefficient=kl_coefficient, pretrain_coefficient=0.0)
        fit(system, prompts, 60, tmp_path)
        divergence.append(sum(entry["train/kl"] for entry in system.history[-10:]) / 10)
    assert divergence[1] < divergence[0] / 2


def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(make, prompts, tmp_path):
    class SaveInTheMiddle(L.Callback):
        def on_train_batch_end(self, trainer, system, outputs, batch, batch_idx):
            if system.iteration == 4:
                trainer.save_checkpoint(tmp_path / "half.ckpt")

    whole = make(warmup=2)
    fit(whole, prompts, 7, tmp_path, callbacks=[SaveInTheMiddle()])
    resumed = make(warmup=2)
    fit(resumed, prompts, 7, tmp_path, resume=tmp_path / "half.ckpt")
    assert [entry["iteration"] for entry in resumed.history] == list(range(1, 8))
    assert resumed.history == whole.history
    assert same(copy_of(resumed.actor), copy_of(whole.actor))
    assert same(copy_of(resumed.critic), copy_of(whole.critic))


def test_checkpoints_leave_out_the_frozen_models_and_refuse_gaps(make, prompts, tmp_path):
    system = make()
    fit(system, prompts, 1, tmp_path).save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"actor", "critic"}
    assert len(checkpoint["optimizer_states"]) == 2
    checkpoint["left_out"]["total"] = 3
    system.on_load_checkpoint(checkpoint)
    assert system.left_out.total == 3
    del checkpoint["state_dict"]["actor.output.weight"]
    with pytest.raises(ValueError, match=r"lacks 1 weights of PPO, actor\.output\.weight"):
        system.on_load_checkpoint(checkpoint)


def test_validation_reports_by_domain_and_by_judge(make, prompts, tmp_path):
    system = make()
    system.judge = lambda prompt, reply: float(prompt.domain == "maths")
    system.means.__init__(CONDITIONS.domains, ("reward", "kl", "length", "finished", "judge"))
    fit(system, prompts, 2, tmp_path, valid=True, val_check_interval=1)
    entries = [entry for entry in system.history if "valid/reward" in entry]
    assert [entry["iteration"] for entry in entries] == [1, 2]
    assert entries[0]["valid/judge"] == 0.5
    assert entries[0]["valid/judge/maths"] == 1 and entries[0]["valid/judge/format"] == 0
    assert entries[0]["valid/reward"] == pytest.approx(
        (entries[0]["valid/reward/maths"] + entries[0]["valid/reward/format"]) / 2
    )


def test_the_condition_is_before_the_query_for_the_reward_model_only(language_model, encoder, prompts):
    seen = {}

    class Watched(LocalEngine):
        def generate(self, ids, sampling, on_token=None):
            seen["engine"] = [list(i) for i in ids]
            return super().generate(ids, sampling)

    class WatchedScorer(Scorer):
        def scores(self, groups, must_be_finite=True):
            seen["reward"] = groups
            return super().scores(groups, must_be_finite)

    scorer = WatchedScorer(from_language_model(language_model, torch.Generator().manual_seed(0)), encoder)
    scored = sample_and_score(
        prompts, Watched(language_model), Sampling(max_new_tokens=5), scorer, seed=1, truncation_penalty=2.0
    )
    assert seen["engine"] == [list(prompt.ids) for prompt in prompts]
    for prompt, group, text in zip(prompts, seen["reward"], scored.texts, strict=True):
        condition = encoder.chat.encode(CONDITIONS.messages(prompt.domain)).ids
        assert group.prompt == [*condition, *prompt.ids]
        assert group == encoder.group(prompt.messages, [text], prompt.domain)
    # The penalty falls on what did not end by itself, and on nothing else.
    plain = torch.tensor([score for (score,) in scorer.scores(seen["reward"])])
    torch.testing.assert_close(plain - scored.scores, 2.0 * (~scored.finished).float())


def test_the_end_of_turn_is_part_of_the_response(language_model, encoder, prompts):
    class Fixed:
        def generate(self, ids, sampling):
            from internlm2_core.generation import Completion

            assert sampling.stop_ids == (encoder.chat.end,)
            return [Completion([65, encoder.chat.end], [0.0, 0.0], "stop") for _ in ids]

    scorer = Scorer(from_language_model(language_model, torch.Generator().manual_seed(0)), encoder)
    scored = sample_and_score(prompts, Fixed(), Sampling(), scorer, seed=1)
    assert scored.responses.responses[0] == [65, encoder.chat.end]
    assert scored.texts[0] == "A" and bool(scored.finished.all())


def test_test_and_predict_look_at_held_out_prompts(make, prompts):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    system, held = make(), HeldOutQueries(prompts, 12)
    [figures] = L.Trainer(**quiet).test(system, held, verbose=False)
    [replies] = L.Trainer(**quiet).predict(system, held)
    assert {"test/reward", "test/kl", "test/reward/maths"} <= set(figures) and figures["test/kl"] == pytest.approx(0)
    assert len(replies) == 12 and not system.history


def test_matrices_decay_as_told_and_norms_never(make):
    system = make()
    system.weight_decay = 0.1
    system.configure_model()
    for net, optimizer in zip((system.actor, system.critic), system.configure_optimizers(), strict=True):
        decay = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
        assert {decay[id(w)] for n, w in net.named_parameters() if "norm" in n} == {0.0}
        assert {decay[id(w)] for n, w in net.named_parameters() if "norm" not in n} == {0.1}
    assert all(group["weight_decay"] == 0 for each in make_default(make) for group in each.param_groups)


def make_default(make):
    """Optimizers as they are without a word about decay."""
    system = PPOSystem(make().roles, make().encoder)
    system.configure_model()
    return system.configure_optimizers()


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_precisions(make, prompts, tmp_path, precision):
    system = make()
    fit(system, prompts, 2, tmp_path, precision=precision)
    wanted = {"bf16-true": torch.bfloat16, "64-true": torch.float64, "bf16-mixed": torch.float32}[precision]
    assert {weight.dtype for weight in system.actor.parameters()} == {wanted}
    assert all(weight.isfinite().all() for weight in system.actor.parameters())


@pytest.mark.parametrize(("rows", "parts"), [(4, 1), (4, 4), (1, 4), (3, 4), (5, 4), (7, 2)])
def test_the_pretrain_loss_is_logged_in_nats_per_token(make, prompts, tmp_path, rows, parts):
    ids = torch.randint(0, 200, (rows, 16), generator=torch.Generator().manual_seed(0))
    labels = ids.roll(-1, 1)
    labels[0, 3:] = -100
    batch = {"input_ids": ids, "labels": labels, "position_ids": torch.arange(16).expand(rows, 16)}
    system = make()
    system.settings = PPOSettings(warmup_iterations=0, mini_batches=parts, pretrain_share=None)
    system.make_optimizers = (partial(torch.optim.SGD, lr=0.0),) * 2
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(system, QueryLoader(prompts, 12, 1, pretrain=[batch]))
    whole = system.actor(ids, batch["position_ids"], labels_BT=labels).cross_entropy / (labels != -100).sum()
    assert system.history[0]["train/pretrain_loss"] == pytest.approx(whole.item(), abs=1e-4)


def test_half_as_much_text_as_is_sampled(make, prompts, tmp_path):
    class Counts:
        taken = 0

        def __iter__(self):
            ids = torch.zeros(1, 4, dtype=torch.int64)
            while True:
                self.taken += 4
                yield {"input_ids": ids, "labels": ids, "position_ids": torch.arange(4)[None]}

    system, texts = make(warmup=1), Counts()
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(system, QueryLoader(prompts, 12, 5, pretrain=texts))
    sampled = sum(12 * entry["train/length"] for entry in system.history if not entry["critic_only"])
    assert texts.taken == pytest.approx(sampled / 2, abs=4 * 2)


def test_a_score_that_is_not_finite_leaves_the_iteration_out(make, prompts, tmp_path, caplog):
    """In the second of three iterations. What comes before and after is as if it had not been."""
    system = make()

    class Broken(L.Callback):
        def on_train_batch_start(self, trainer, system, batch, batch_idx):
            self.before = copy_of(system.actor)
            system.truncated = system.settings.truncation_penalty
            penalty = float("nan") if batch_idx == 1 else 1.0
            object.__setattr__(system.settings, "truncation_penalty", penalty)

        def on_train_batch_end(self, trainer, system, outputs, batch, batch_idx):
            assert same(copy_of(system.actor), self.before) == (batch_idx == 1)

    fit(system, prompts, 3, tmp_path, callbacks=[Broken()])
    first, second, third = system.history
    assert "train/reward" in second["left_out"] and "train/reward" not in second
    assert "left_out" not in {*first, *third} and system.left_out.total == 1
    assert "is left out: train/" in caplog.text and [e["iteration"] for e in system.history] == [1, 2, 3]


@pytest.mark.parametrize(("on_bad", "iterations"), [("stop", 1), ("skip", 10)])
def test_scores_that_are_never_finite_end_the_run(make, prompts, tmp_path, on_bad, iterations):
    system = make(on_bad=on_bad)
    system.configure_model()
    system.reward.v_head.weight.data.fill_(float("nan"))
    before = copy_of(system.actor), copy_of(system.critic)
    with pytest.raises(
        NotFiniteError, match=rf"{iterations} steps in a row were not finite \(the last: train/reward nan"
    ):
        fit(system, prompts, 12, tmp_path)
    assert same(copy_of(system.actor), before[0]) and same(copy_of(system.critic), before[1])
    assert system.iteration == iterations - 1


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_without_a_learning_rate_the_ratio_is_one_and_nothing_diverges(make, prompts, tmp_path, mini_batches):
    system = make()
    system.settings = PPOSettings(warmup_iterations=0, mini_batches=mini_batches, micro_batch_tokens=100)
    system.make_optimizers = (partial(torch.optim.SGD, lr=0.0),) * 2
    fit(system, prompts, 2, tmp_path)
    for entry in system.history:
        assert entry["train/ratio"] == pytest.approx(1, abs=1e-5) and entry["train/clip_fraction"] == 0
        assert entry["train/approx_kl"] == pytest.approx(0, abs=1e-9)
        assert [entry[f"train/{name}"] for name in ("kl", "kl_k2", "kl_k3")] == pytest.approx([0, 0, 0], abs=1e-4)
        assert entry["train/engine_ratio"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("mini_batches", "micro_batch_tokens", "passes"), [(1, 16_384, 1), (2, 16_384, 3), (1, 60, 2)])
def test_no_pass_is_made_for_what_is_known(
    make, prompts, tmp_path, monkeypatch, mini_batches, micro_batch_tokens, passes
):
    """One step over one micro-batch: a pass with its graph. Two: one for the rollout, and one a step. Several
    micro-batches: the engine is believed after the first, so less than two passes in all."""
    calls, real = [], responses.token_logprobs

    def counted(net, packed, *args, **keywords):
        calls.append(len(packed.targets))
        return real(net, packed, *args, **keywords)

    for module in (rollout_module, updates):
        monkeypatch.setattr(module, "token_logprobs", counted)
    system = make()
    system.settings = PPOSettings(
        warmup_iterations=0, mini_batches=mini_batches, micro_batch_tokens=micro_batch_tokens, pretrain_coefficient=0
    )
    fit(system, prompts, 1, tmp_path)
    tokens = round(12 * system.history[0]["train/length"])
    actor = sum(calls) - tokens  # the reference sees all of them once
    assert (
        actor < passes * tokens if micro_batch_tokens == 60 else actor == (passes if mini_batches == 1 else 2) * tokens
    )


def test_a_target_of_divergence_moves_its_price_and_a_resumed_run_knows_it(make, prompts, tmp_path):
    system = make(kl_target=1.0, kl_horizon=24)
    fit(system, prompts, 3, tmp_path).save_checkpoint(tmp_path / "a.ckpt")
    prices = [entry["train/kl_coefficient"] for entry in system.history]
    assert prices[1] == pytest.approx(0.01 * (1 - 0.2 * 12 / 24)) and prices[0] == 0.01
    again = make(kl_target=1.0, kl_horizon=24)
    again.configure_model()
    again.on_load_checkpoint(torch.load(tmp_path / "a.ckpt", weights_only=True))
    assert again.price.coefficient == system.price.coefficient != prices[2]


def test_a_stale_engine_stops_the_run(make, prompts, tmp_path):
    system, stale = make(), make().roles.actor()
    stale.init_weights(torch.Generator().manual_seed(9), std=0.1)
    system.make_engine = lambda net: LocalEngine(stale)
    with pytest.raises(ValueError, match=r"in iteration 1, more than max_mismatch=0\.1"):
        fit(system, prompts, 2, tmp_path)


@pytest.mark.parametrize("engine", [RayEngines(), VLLMActor("engine", "tokenizer.json")])
def test_an_engine_in_another_process_gets_no_parts_of_weights(make, encoder, engine):
    roles = replace(make().roles, sample_with="shards")
    with pytest.raises(
        ValueError, match=rf"^sample_with=shards must be copies with {type(engine).__name__}, which needs "
    ):
        PPOSystem(roles, encoder, engine=engine)
    PPOSystem(roles, encoder)
