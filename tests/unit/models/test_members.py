"""Networks that are trained together: each as if alone, and what they answer together."""

import pytest
import torch
from torch.nn import functional

from pipelines.models.members import build_members, logits_of_members
from pipelines.training import settle_statistics


def images_of(number: int = 5) -> torch.Tensor:
    return torch.randn(number, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_members_differ_and_follow_from_the_seed(build) -> None:
    first, again = (build_members(build("compact3", channels=1, size=8), 3, vote=True) for _ in range(2))
    weights = [member.classifier.weight for member in first.members]
    assert torch.equal(weights[0], build("compact3", channels=1, size=8).classifier.weight)
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_member_is_trained_as_if_it_were_alone(build) -> None:
    together = build_members(build("compact3", channels=1, size=8), 2, vote=False).train()
    alone = build("compact3", channels=1, size=8).train()
    labels = torch.arange(5)
    parts = logits_of_members(together(images_of()), 10)
    sum(functional.cross_entropy(logits, labels) for logits in parts).backward()
    functional.cross_entropy(alone(images_of()), labels).backward()
    for one, other in zip(together.members[0].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


@pytest.mark.parametrize("vote", [False, True])
def test_in_evaluation_the_first_or_the_mean_of_the_probabilities_answers(build, vote: bool) -> None:
    members = build_members(build("compact3", channels=1, size=8), 3, vote=vote).eval()
    with torch.inference_mode():
        logits = [member(images_of()) for member in members.members]
        found = members(images_of())
    expected = torch.stack([one.softmax(1) for one in logits]).mean(0) if vote else logits[0].softmax(1)
    torch.testing.assert_close(found.softmax(1), expected)


def test_members_that_discard_maps_settle_like_one(build) -> None:
    members = build_members(build("densenet10", channels=1, size=8, discard_rate=0.5), 2, vote=True)
    assert members.changes_every_step
    before = [one.generator.get_state() for one in members.members]
    settle_statistics(members.train(), [images_of(), images_of()])
    for member, state in zip(members.members, before, strict=True):
        assert torch.equal(member.generator.get_state(), state)
        assert float(member.blocks[0].normalise.running_mean.abs().sum()) > 0
    assert not build_members(build("compact3", channels=1, size=8), 2, vote=True).changes_every_step
