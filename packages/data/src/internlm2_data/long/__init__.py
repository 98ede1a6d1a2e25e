"""Documents for the long phase (report section 3.1.3): over 32 KB, then statistical filters after LongWanjuan.

The filters are rules like any other: their measures are in `rules.long_measures`, their thresholds in
`rules/tables/long.csv`.
"""

from internlm2_data.long.sieve import LengthSieve

__all__ = ["LengthSieve"]
