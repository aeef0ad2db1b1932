"""Forward auth in the configuration: which proxies may ask about the requests that they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, create_model

from gateway.core.policy import Network
from gateway.settings import fields as f
from gateway.settings.part import Part


class _Asking(Part):
    @property
    def networks(self) -> tuple[Network, ...]:
        """The value of ``from``, which is no name in Python."""
        return tuple(getattr(self, "from"))


_FROM = Field(
    description="Networks of the proxies that may ask `/_gateway/verify`, and are believed about whose request it is.",
    json_schema_extra={"minItems": 1},
)

if TYPE_CHECKING:

    class ForwardAuthPart(_Asking):
        """Who may ask."""
else:
    ForwardAuthPart = create_model(
        "ForwardAuthPart",
        __base__=_Asking,
        __doc__="Other proxies that ask about each request that they hold, and carry it themselves.",
        **{"from": (Annotated[list[f.NetworkField], f.OneOrMany()], _FROM)},
    )
