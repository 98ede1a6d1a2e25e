"""Context parallelism: the tokens of a row over several ranks.

    rows [B, T] ──cut──► rank 0: chunks 0 and 3    each rank runs the whole network on its tokens,
                         rank 1: chunks 1 and 2    only attention has to see the other ranks' keys

Chunks are paired from both ends (zigzag), so that under a causal mask every rank has the same work. Attention itself is
replaced where the network keeps it: in the weightless module ``attend``.

=========  =================================================================================  =======================
`gather`   every rank gathers all keys and values, and computes its own queries (Llama 3)     any head count
`ulysses`  all-to-all: each rank gets all tokens of some heads (DeepSpeed, arXiv 2309.14509)  heads % ranks == 0
`ring`     keys and values travel round the ring, results are merged (arXiv 2310.01889)       most memory
=========  =================================================================================  =======================
"""

from internlm2_parallel.context.attends import ContextAttention
from internlm2_parallel.context.boundary import split_tokens
from internlm2_parallel.context.documents import Documents, SplitDocuments

__all__ = ["ContextAttention", "Documents", "SplitDocuments", "split_tokens"]
