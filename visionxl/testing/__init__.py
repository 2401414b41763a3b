"""Contract tests: call them on parts of your own, in your own tests.

Each examines one part against the laws in the docstring of its protocol, and says nothing where
they are kept::

    from visionxl.testing import check_operator

    def test_my_operator():
        check_operator(MyOperator(), (4, 3, 16, 24))

Where a law is broken it raises :class:`ContractError`, with the law, what was seen and the way out.
An exception of the part is one of those, with the original as its cause; but an ``InputError`` of
its own comes through as it is.
"""

from visionxl.testing.consistencies import check_consistency
from visionxl.testing.initializers import check_initializer
from visionxl.testing.laws import ContractError
from visionxl.testing.methods import check_method
from visionxl.testing.operators import check_operator
from visionxl.testing.priors import check_prior

__all__ = [
    "ContractError",
    "check_consistency",
    "check_initializer",
    "check_method",
    "check_operator",
    "check_prior",
]
