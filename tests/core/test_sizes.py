import pytest
from internlm2_core import SIZES, ModelSize


@pytest.mark.parametrize(("name", "params"), [("1.8B", 1_889_110_016), ("7B", 7_737_708_544), ("20B", 19_861_149_696)])
def test_released_parameter_counts(name: str, params: int) -> None:
    assert SIZES[name].num_params() == params


def test_parameters_of_a_small_shape_by_hand() -> None:
    size = ModelSize(layers=1, dim=4, num_kv_heads=1, q_per_kv=2, ffn_dim=3, vocab_size=10, head_dim=2)
    # wqkv (2 + 2) * 2 x 4 = 32, wo 4 x 4 = 16, feed-forward 3 * 3 * 4 = 36, norms 8 + 4, embedding and head 2 * 40
    assert size.num_params() == 32 + 16 + 36 + 8 + 4 + 80


def test_flops_by_hand() -> None:
    size = ModelSize(layers=1, dim=4, num_kv_heads=1, q_per_kv=2, ffn_dim=3, vocab_size=10, head_dim=2)
    matrices = 6 * (32 + 16 + 36 + 40)
    # One document of 3 tokens: pairs 1 + 2 + 3; each pair costs 2 * 2 * 2 heads * 2 wide forward, three passes in all.
    assert size.flops_per_token([3]) == matrices + 6 * (2 * 2 * 2 * 2) * 3 / 3
    # Two documents attend less than one of the same length.
    assert size.flops_per_token([2, 2]) < size.flops_per_token([4])


@pytest.mark.parametrize("field", ["layers", "dim", "q_per_kv"])
def test_a_size_that_is_not_positive_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}=0 must be positive"):
        ModelSize(**({"layers": 1, "dim": 4, "num_kv_heads": 1, "q_per_kv": 1, "ffn_dim": 4} | {field: 0}))


def test_an_odd_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head_dim=3 must be even"):
        ModelSize(layers=1, dim=4, num_kv_heads=1, q_per_kv=1, ffn_dim=4, head_dim=3)
