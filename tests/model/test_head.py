import pytest
import torch

from lmablate.model import TiedHead, UntiedHead
from tests.model.helpers import CONTEXT, VOCAB, random_tokens, small_model


@pytest.mark.parametrize(
    ("tying", "names"), [(TiedHead, ["embed.weight"]), (UntiedHead, ["embed.weight", "head.weight"])]
)
def test_a_tied_model_has_one_matrix_of_the_vocabulary_in_parameters_and_state_dict_an_untied_two(tying, names):
    model = small_model(tying=tying)
    shape = model.embed.weight.shape
    assert shape[0] == VOCAB
    assert [name for name, p in model.named_parameters(remove_duplicate=False) if p.shape == shape] == names
    assert [name for name, tensor in model.state_dict().items() if tensor.shape == shape] == names
    assert not any(name.startswith("head") and name not in names for name in model.state_dict())


def test_the_output_matrix_is_the_embedding_only_if_tied():
    tied, untied = small_model(tying=TiedHead), small_model(tying=UntiedHead)
    assert tied.output_weight is tied.embed.weight
    assert untied.output_weight is untied.head.weight
    assert untied.output_weight is not untied.embed.weight


@pytest.mark.parametrize("tying", [TiedHead, UntiedHead])
@torch.no_grad()
def test_logits_are_hidden_states_times_the_output_matrix(tying):
    model, tokens = small_model(tying=tying), random_tokens(2, CONTEXT)
    torch.testing.assert_close(model(tokens), model.hidden(tokens) @ model.output_weight.mT)
    untouched = model(tokens)
    model.output_weight.mul_(2)
    assert torch.equal(model(tokens), 2 * untouched) == (tying is UntiedHead)
