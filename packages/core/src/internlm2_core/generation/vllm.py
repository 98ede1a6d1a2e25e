"""Generation by vLLM (extra ``vllm``), for throughput on GPUs.

vLLM reads Llama's layout with its own code. The released layout would need code from the checkpoint's folder, which is
never run here. ``internlm2 convert format=llama`` makes it readable.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from internlm2_core.checkpoint.any_layout import layout_of
from internlm2_core.generation.engine import Completion, check_prompts
from internlm2_core.generation.sampling import Sampling


class VLLMEngine:
    """An `Engine` for a model folder.

    Log-probabilities are vLLM's raw ones: before temperature, truncation *and* repetition penalty
    (`LocalEngine` gives them after the penalty).

    Args:
        checkpoint: A model folder in Llama's layout.
        options: Arguments of ``vllm.LLM``, such as ``tensor_parallel_size`` or ``gpu_memory_utilization``.

    Raises:
        ModuleNotFoundError: If vLLM is not installed.
        ValueError: If the layout is another one.
    """

    def __init__(self, checkpoint: str | Path, **options: Any) -> None:
        if layout_of(checkpoint) != "llama":
            raise ValueError(
                f"vLLM cannot read the layout of {checkpoint}. "
                f"Convert it with `internlm2 convert from={checkpoint} to=FOLDER format=llama`."
            )
        try:
            from vllm import LLM
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('vLLM is not installed: pip install "internlm2-core[vllm]".') from error
        self.llm = LLM(model=str(checkpoint), trust_remote_code=False, logprobs_mode="raw_logprobs", **options)

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Args:
            prompts: Token ids of each.
            sampling: How to choose and when to stop.

        Raises:
            ValueError: If a prompt is empty.
        """
        from vllm import SamplingParams

        check_prompts(prompts)
        params = SamplingParams(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            repetition_penalty=sampling.repetition_penalty,
            stop_token_ids=list(sampling.stop_ids),
            stop=list(sampling.stop) or None,
            # vLLM's strongest bias. Probabilities are those of the model without it.
            logit_bias=dict.fromkeys(sampling.never_ids, -100.0) or None,
            include_stop_str_in_output=True,
            ignore_eos=True,  # the tokens that stop are named above
            seed=sampling.seed,
            logprobs=0 if sampling.logprobs else None,
        )
        outputs = self.llm.generate([{"prompt_token_ids": list(p)} for p in prompts], params, use_tqdm=False)
        return [completion_of(request.outputs[0]) for request in outputs]

    def reload(self) -> None:
        """Read the weights of the folder again, which has got others of the same shapes."""
        self.llm.collective_rpc("reload_weights")
        self.llm.reset_prefix_cache()  # Keys and values of the old weights.


def completion_of(output: Any) -> Completion:
    """What vLLM says of one sequence, in our words."""
    ids = list(output.token_ids)
    told = output.logprobs or ()
    logprobs = [step[id_].logprob for step, id_ in zip(told, ids, strict=bool(told))]
    return Completion(ids, logprobs, "stop" if output.finish_reason == "stop" else "length")
