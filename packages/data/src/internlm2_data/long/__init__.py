"""Documents for the long phase (report section 3.1.3): over 32 KB, then statistical filters after LongWanjuan, then how
much neighbouring segments tell of each other.

The statistical filters are rules like any other: their measures are in `rules.long_measures`, their thresholds in
`rules/tables/long.csv`. The perplexity filter asks any `Scorer`.
"""

from internlm2_data.long.perplexity import GainRule, GainSieve, PerplexityFilter, Scorer
from internlm2_data.long.sieve import LengthSieve

__all__ = ["GainRule", "GainSieve", "LengthSieve", "PerplexityFilter", "Scorer"]
