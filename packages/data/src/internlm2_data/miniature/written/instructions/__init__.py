"""Instructions written by rule, whose answers a program can check (in place of the SFT data of report section 4.1).

words, wording          vocabulary and templates of each language
arithmetic copying sorting formatting retrieval
                        one task each, two in the last: (random.Random, language) -> Instance
instance                Instance, and the place of its content between 0 and 1, which says what set it may be in
record                  Instance -> instruction record, in one of two styles
sets                    train, prompts, heldout, lookalike, balanced over task and language
pipeline                `internlm2 process pipeline=instructions`
opening                 `internlm2 process pipeline=planted_opening`, a habit for PPO to find
"""

from internlm2_data.miniature.written.instructions.opening import PlantedOpeningPipeline
from internlm2_data.miniature.written.instructions.pipeline import InstructionsPipeline
from internlm2_data.miniature.written.instructions.sets import TASKS, Shares, write_set

__all__ = ["TASKS", "InstructionsPipeline", "PlantedOpeningPipeline", "Shares", "write_set"]
