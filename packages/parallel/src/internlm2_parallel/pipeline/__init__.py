"""Pipeline parallelism under an ordinary ``net(input_ids, position_ids, labels)``.

    rank 0: embedding, blocks 0-1 ──hidden──► rank 1: blocks 2-3, norm, head, loss
             ◄──────────────────── gradient ──

Blocks of other ranks are replaced by modules that pass their input on, so the weights that stay keep their names. A
call of the network with labels runs the whole schedule, forward and backward of every micro-batch, through
`torch.distributed.pipelining`; what it returns is the loss sum with a gradient that scales what the schedule left in
``weight.grad``. Lightning's loop, and the module in it, need not know.
"""

from internlm2_parallel.pipeline.run import PipelinedNet
from internlm2_parallel.pipeline.schedule import Pipeline
from internlm2_parallel.pipeline.stages import Arriving, PassThrough, whole_state

__all__ = ["Arriving", "PassThrough", "Pipeline", "PipelinedNet", "whole_state"]
