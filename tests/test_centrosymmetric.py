"""Singular values by halves, where a matrix is the same turned around."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visionxl.operators import AveragePool, GaussianBlur, TemporalAverage
from visionxl.solvers import centrosymmetric
from visionxl.solvers.centrosymmetric import centrosymmetric_svd

SIZES = st.integers(1, 12)


def random(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator)


@given(rows=SIZES, columns=SIZES, turned=st.booleans(), seed=st.integers(0, 99))
def test_they_are_the_singular_values_and_the_vectors_are_orthonormal(rows, columns, turned, seed):
    matrix = random(rows, columns, seed)
    if turned:
        matrix = matrix + matrix.flip(0, 1)
    left, values, right = centrosymmetric_svd(matrix)
    expected = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(values, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(left * values @ right.T, matrix, atol=1e-12, rtol=0)
    for vectors in (left, right):
        one = torch.eye(len(expected), dtype=torch.float64)
        torch.testing.assert_close(vectors.T @ vectors, one, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("operator", "axis"),
    [
        (GaussianBlur(1.5), 2),
        (GaussianBlur(1.5, "zero"), 3),
        (AveragePool(4), 3),
        (TemporalAverage(3), 0),
        (TemporalAverage(3, "reflect"), 0),
    ],
    ids=repr,
)
def test_the_matrices_of_symmetric_kernels_are_halved(operator, axis, monkeypatch):
    shapes = []
    svd = torch.linalg.svd

    def watched(matrix, **options):
        shapes.append(tuple(matrix.shape))
        return svd(matrix, **options)

    monkeypatch.setattr(centrosymmetric.torch.linalg, "svd", watched)
    matrix = operator.factors((7, 3, 16, 24)).axes[axis]
    centrosymmetric_svd(matrix)
    rows, columns = matrix.shape
    assert shapes == [(-(-rows // 2), -(-columns // 2)), (rows // 2, columns // 2)]
    shapes.clear()
    centrosymmetric_svd(matrix + random(*matrix.shape, seed=0))
    assert shapes == [(rows, columns)]
