"""What may be given as an attention back end."""

from functools import partial

import pytest
import torch
from internlm2_core.nn.attend import ATTENDS, FunctionAttend, MaskedAttend, attend_of, default_attend, sdpa
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.segments import Segments
from torch import nn


def test_names_modules_classes_and_functions() -> None:
    masked = MaskedAttend()
    assert type(attend_of("masked")) is MaskedAttend is ATTENDS["masked"]
    assert type(attend_of("auto")) is type(default_attend())
    assert attend_of(masked) is masked
    assert type(attend_of(MaskedAttend)) is type(attend_of(partial(MaskedAttend))) is MaskedAttend
    wrapped = attend_of(lambda q, k, v, segments: q + segments.max_length)
    assert isinstance(wrapped, FunctionAttend)
    q = torch.zeros(1, 3, 2, 4)
    assert wrapped(q, q, q, Segments((3,), 1, q.device)).unique().tolist() == [3.0]


def test_a_name_that_nobody_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attend='sdap' must be a module, a function, or one of auto, sdpa, masked"):
        attend_of("sdap")


def test_a_back_end_has_no_weights() -> None:
    class Weighty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(2, 2)

    with pytest.raises(ValueError, match=r"attend=Weighty must have no weights, but it has gate\.weight"):
        attend_of(Weighty)


def test_documents_grouped_in_inference_mode_can_be_trained_on(net: LanguageModel) -> None:
    ids, positions = torch.arange(12)[None], torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4]])
    sdpa.grouping.cache_clear()
    with torch.inference_mode():
        net(ids, positions, labels_BT=ids.roll(-1, 1))
    net(ids, positions, labels_BT=ids.roll(-1, 1)).cross_entropy.backward()
    assert sdpa.grouping.cache_info().hits
