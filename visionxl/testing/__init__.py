"""Contract tests for user-defined parts, to call in your own tests.

Each tests one part against the laws in the docstring of its protocol, and passes silently if they
are kept::

    from visionxl.testing import check_operator

    def test_my_operator():
        check_operator(MyOperator(), (4, 3, 16, 24))

If a law is broken it raises :class:`ContractError`, with the law, what was seen and the way out.
An exception in the part becomes one, with the original as its cause; but an ``InputError`` of the
part is passed on unchanged.
"""

from visionxl.testing.consistencies import check_consistency
from visionxl.testing.denoising import check_denoising
from visionxl.testing.initializers import check_initializer
from visionxl.testing.laws import ContractError
from visionxl.testing.methods import check_method
from visionxl.testing.operators import check_operator
from visionxl.testing.priors import check_prior

__all__ = [
    "ContractError",
    "check_consistency",
    "check_denoising",
    "check_initializer",
    "check_method",
    "check_operator",
    "check_prior",
]
