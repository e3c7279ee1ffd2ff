"""What the machine of the tests may lack."""

import pytest

from textvae.runtime import has_bf16

needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this CPU has no AVX-512, and no bf16")
