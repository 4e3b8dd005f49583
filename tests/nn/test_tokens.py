import numpy as np
import torch

from sensorium.nn.tokens import PADDING, from_tokens, to_tokens


def test_tokens_are_ids_moved_up_by_one_and_back() -> None:
    for ids in (torch.tensor([[0, 4], [2, 1]]), np.array([[0, 4], [2, 1]])):
        tokens = to_tokens(ids)
        assert tokens.tolist() == [[1, 5], [3, 2]]
        assert from_tokens(tokens).tolist() == ids.tolist()
        assert ids.tolist() == [[0, 4], [2, 1]]


def test_no_item_has_the_token_of_padding() -> None:
    assert PADDING not in to_tokens(torch.arange(5))
    assert from_tokens(torch.tensor([PADDING])).tolist() == [-1]
