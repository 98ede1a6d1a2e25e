"""From replies to preference pairs: who judges, what is judged, and what became of it.

    comparisons of one's own ----------------.
    prompts --a model's replies, in pairs -----+--> Comparison --Annotator--> Judgement --> train.jsonl, heldout.jsonl
    instruction records --candidates, scored -'

An `Annotator` is whoever judges: people behind a page (`PeopleAnnotator`), a model behind an endpoint
(`EndpointAnnotator`), reward models (`RewardAnnotator`), or the rules of `internlm2_align.miniature`.
"""

from internlm2_align.labelling.annotator import Annotator, Answer, Failure

__all__ = ["Annotator", "Answer", "Failure"]
