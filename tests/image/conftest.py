"""The image under test, named in the environment by `.ci/image`, which builds it; without it nothing here can run."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support.container import image_config


@pytest.fixture(scope="session")
def image() -> str:
    """Return the name of the image; KeyError where it was not built."""
    return os.environ["GATEWAY_IMAGE"]


@pytest.fixture(scope="session")
def config(image: str) -> dict[str, Any]:
    """Return what the image says about itself."""
    return image_config(image)
