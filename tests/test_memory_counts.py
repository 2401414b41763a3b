"""Bytes counted without a device."""

import pytest
import torch

from visionxl.memory import LiveBytes, peak_bytes_of

MIB = 2**20


def floats(count, device):
    return torch.empty(count * MIB // 4, device=device)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_temporary_counts_while_it_lives(device):
    given = floats(1, device)

    def action():
        doubled = given * 2
        answer = doubled + 1
        del doubled
        for _ in range(5):
            answer = answer.sin()
        return answer

    assert peak_bytes_of(action) == 2 * MIB


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_views_and_work_in_place_take_nothing(device):
    given = floats(2, device)
    assert peak_bytes_of(lambda: given.view(-1)[:10].add_(1)) == 0


def test_everything_kept_adds_up_and_is_let_go():
    with LiveBytes() as live:
        kept = [floats(1, "meta") for _ in range(4)]
        assert live.now == 4 * MIB
        kept.clear()
        assert live.now == 0
    assert live.peak == 4 * MIB
