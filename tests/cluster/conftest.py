import pytest

from pipelines.cluster import requirements
from pipelines.errors import UserError


@pytest.fixture(scope="session")
def machine() -> None:
    """Skip, with the reason, where this machine cannot carry an emulated cluster."""
    try:
        requirements.check()
    except UserError as error:
        pytest.skip(str(error))
