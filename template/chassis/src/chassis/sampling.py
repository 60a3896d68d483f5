"""Which requests are traced, decided before anything is made for a span.

The rules are those of the SDK's samplers, which the spans below a request are still decided by.
"""

from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry.sdk.trace import sampling as sdk
from opentelemetry.trace import SpanContext

_SDK: Final[Mapping[str, Callable[[float], sdk.Sampler]]] = {
    "always_on": lambda _: sdk.ALWAYS_ON,
    "always_off": lambda _: sdk.ALWAYS_OFF,
    "traceidratio": sdk.TraceIdRatioBased,
    "parentbased_always_on": lambda _: sdk.DEFAULT_ON,
    "parentbased_always_off": lambda _: sdk.DEFAULT_OFF,
    "parentbased_traceidratio": sdk.ParentBasedTraceIdRatio,
}
_PARENT_BASED: Final = "parentbased_"
_LOW_BITS: Final = sdk.TraceIdRatioBased.TRACE_ID_LIMIT


def sdk_sampler(name: str, ratio: float) -> sdk.Sampler:
    """Return the SDK's sampler of that standard name."""
    return _SDK[name](ratio)


class Sampling:
    """Decides as the SDK's sampler of the same name does, at a tenth of its price.

    Args:
        name: of a standard sampler.
        ratio: of the traces that the ratio samplers take.
    """

    def __init__(self, name: str, ratio: float) -> None:
        root = name.removeprefix(_PARENT_BASED)
        self._follows_parent = name.startswith(_PARENT_BASED)
        self._bound = sdk.TraceIdRatioBased.get_bound_for_rate(
            {"always_on": 1.0, "always_off": 0.0}.get(root, ratio)
        )

    def takes(self, trace_id: int, parent: SpanContext | None) -> bool:
        """Whether a request is sampled.

        Args:
            trace_id: of the request.
            parent: the caller's span, when it sent a valid one.
        """
        if parent is not None and self._follows_parent:
            return parent.trace_flags.sampled
        return trace_id & _LOW_BITS < self._bound
