import torch

from harness.methods.recipe import BankRule
from harness.seeds import generator
from harness.training.batches import batch_size_for, epoch_batches, steps_per_epoch
from harness.training.memory_bank import follow, overwrite


def test_batch_is_cut_to_the_smaller_domain_and_even():
    assert batch_size_for(64, 500, 2000) == 64
    assert batch_size_for(64, 31, 2000) == 30
    assert batch_size_for(5, 100, 100) == 4
    assert batch_size_for(64, 1, 100) == 2


def test_an_epoch_shows_every_image_of_the_larger_domain_once_but_the_dropped_rest():
    index_SB = epoch_batches(103, 103, 10, generator(0, "x"))
    assert index_SB.shape == (steps_per_epoch(10, 103, 40), 10)
    assert len(index_SB.unique()) == 100


def test_the_smaller_domain_is_filled_up_by_uniform_draws():
    index_SB = epoch_batches(20, 2000, 10, generator(0, "x"))
    assert index_SB.shape == (200, 10)
    counts = torch.bincount(index_SB.flatten(), minlength=20)
    assert counts.min() > 60
    assert counts.max() < 150


def test_one_step_even_when_the_batch_is_larger_than_both_domains():
    assert epoch_batches(1, 1, 2, generator(0, "x")).tolist() == [[0, 0]]


def test_batches_are_a_function_of_the_seed():
    first = epoch_batches(50, 60, 10, generator(0, "x"))
    assert torch.equal(first, epoch_batches(50, 60, 10, generator(0, "x")))
    assert not torch.equal(first, epoch_batches(50, 60, 10, generator(1, "x")))


def test_overwrite_keeps_the_last_of_an_image_that_occurs_twice():
    bank_ND = torch.zeros(4, 2)
    overwrite(bank_ND, torch.tensor([1, 2, 1]), torch.tensor([[1.0, 0], [2, 0], [3, 0]]))
    assert bank_ND[:, 0].tolist() == [0, 3, 2, 0]


def test_follow_is_a_moving_average():
    bank_ND = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    rule = BankRule(rule="ema", beta=0.9, normalise=False)
    follow(bank_ND, torch.tensor([0]), torch.tensor([[0.0, 1.0]]), rule)
    assert torch.allclose(bank_ND, torch.tensor([[0.9, 0.1], [0.0, 1.0]]))
    follow(bank_ND, torch.tensor([0]), torch.tensor([[0.0, 1.0]]), BankRule(rule="ema", beta=0.5))
    assert torch.allclose(bank_ND[0].norm(), torch.tensor(1.0))
