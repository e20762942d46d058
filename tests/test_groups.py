"""Coding groups: every query once, other groups each epoch, the same ones for the same seed."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parmtrain.tasks.images import CropFlip, ImageInput
from parmtrain.tasks.queries import TensorQueries
from parmtrain.training.groups import GroupBatch, GroupDataset, GroupSampler, group_loader, prepare_batch


@given(
    queries=st.integers(5, 60),
    k=st.integers(2, 5),
    groups=st.integers(1, 9),
    processes=st.integers(1, 3),
)
@settings(deadline=None, max_examples=60)
def test_each_query_is_in_one_group_over_all_processes(queries: int, k: int, groups: int, processes: int) -> None:
    drawn = []
    for rank in range(processes):
        sampler = GroupSampler(queries, k, groups * processes, 1, shuffle=False, rank=rank, processes=processes)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert all(batch.shape[1] == k for batch in batches)
        drawn += torch.cat(batches).flatten().tolist() if batches else []
    assert len(drawn) == len(set(drawn)) == queries // k * k


def test_groups_are_fresh_each_epoch_and_repeatable() -> None:
    def epoch(number: int, seed: int = 0, shuffle: bool = True) -> torch.Tensor:
        sampler = GroupSampler(100, 2, 8, seed, shuffle)
        sampler.set_epoch(number)
        return torch.cat(list(sampler))

    assert torch.equal(epoch(3), epoch(3))
    assert not torch.equal(epoch(3), epoch(4))
    assert not torch.equal(epoch(3), epoch(3, seed=1))
    assert torch.equal(epoch(3, shuffle=False), epoch(4, shuffle=False))


def test_a_batch_holds_queries_labels_and_predictions_that_belong_together() -> None:
    labels = torch.arange(11)
    queries = TensorQueries(labels.view(-1, 1, 1, 1).to(torch.uint8), labels)
    loader = group_loader(GroupDataset(queries, labels.view(-1, 1).float()), GroupSampler(11, 2, 3, seed=0))
    for batch in loader:
        assert torch.equal(batch.queries.flatten(), batch.labels.flatten().to(torch.uint8))
        assert torch.equal(batch.predictions.flatten(), batch.labels.flatten().float())


def test_preparing_keeps_groups_together() -> None:
    stored = torch.arange(6, dtype=torch.uint8).view(3, 2, 1, 1, 1).expand(3, 2, 1, 4, 4)
    batch = prepare_batch(GroupBatch(stored, torch.zeros(3, 2), None), ImageInput([1, 4, 4], scale=1))
    assert torch.equal(batch.queries[:, :, 0, 0, 0], torch.arange(6.0).view(3, 2))


def test_augmentation_cuts_each_image_at_a_place_of_its_own() -> None:
    torch.manual_seed(0)
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8)
    changed = CropFlip(padding=2)(image.expand(200, -1, -1, -1))
    padded = torch.nn.functional.pad(image, [2] * 4)
    windows = [padded[..., i : i + 8, j : j + 8] for i in range(5) for j in range(5)]
    possible = {tuple(window.flatten().tolist()) for window in [*windows, *(window.flip(-1) for window in windows)]}
    seen = {tuple(one.flatten().tolist()) for one in changed}
    assert seen <= possible
    assert len(seen) > 40


def test_input_repeats_resizes_and_normalizes() -> None:
    grey = torch.full((2, 1, 8, 8), 51, dtype=torch.uint8)
    colour = ImageInput([3, 16, 12], mean=[0.1, 0.2, 0.3], std=[0.1, 0.2, 0.5])(grey)
    assert colour.shape == (2, 3, 16, 12)
    assert torch.allclose(colour[0, :, 5, 5], torch.tensor([1.0, 0.0, -0.2]), atol=1e-6)
    assert ImageInput([1, 8, 8])(grey.expand(-1, 3, -1, -1)).shape == (2, 1, 8, 8)


@given(queries=st.integers(5, 60), groups=st.integers(1, 6), processes=st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_processes_take_equal_shares_of_each_training_batch(queries: int, groups: int, processes: int) -> None:
    def batches(rank: int, processes: int) -> list[torch.Tensor]:
        return list(GroupSampler(queries, 2, groups * processes, seed=1, rank=rank, processes=processes))

    whole = list(GroupSampler(queries, 2, groups * processes, seed=1))
    shares = [batches(rank, processes) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    for number, parts in enumerate(zip(*shares, strict=True)):
        assert len({len(part) for part in parts}) == 1
        together = {tuple(group) for part in parts for group in part.tolist()}
        batch = {tuple(group) for group in whole[number].tolist()}
        assert together <= batch
        assert len(batch - together) < processes
