from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def known_cube() -> Iterator[None]:
    """Guidance "cube-oracle", and lifts that show themselves by small pictures."""
    from sensorium.core import registry
    from sensorium.lifting.generation import job
    from sensorium.lifting.guidance.base import GROUP

    from .shapes import CubeOracle

    with registry.registered(GROUP, "cube-oracle", CubeOracle), pytest.MonkeyPatch.context() as patched:
        patched.setattr(job, "VIEW_SIDE", 32)
        yield
