"""Spans as OTLP, encoded for speed.

The library builds a Python object for every value of every span, which costs more than the span
itself. Here the bytes of a span are written directly; spans with events, links or sequences, and
everything around the spans, are still the library's. The tests compare both.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import pack
from typing import Final

import grpc  # type: ignore[import-untyped]  # it has no types
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from chassis.encoding import MAX_STACK
from chassis.redaction import redact_text

# Tags of opentelemetry/proto/trace/v1/trace.proto: number of the field and wire type.
_NAME, _ATTRIBUTE, _STATUS = b"\x2a", b"\x4a", b"\x7a"
_RESOURCE_SPANS, _SCOPE_SPANS, _SPAN = b"\x0a", b"\x12", b"\x12"
_KINDS: Final = {kind: pack("BB", 0x30, kind.value + 1) for kind in SpanKind}
_FLAGS_LOCAL, _FLAGS_REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
_LONGEST_KEPT: Final = 256
_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class SpanExporter(OTLPSpanExporter):
    """The library's exporter, to which a request is the bytes that this module makes."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> bytes:  # type: ignore[override]
        return encode(data)

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]
        self._client = _Stub(self._channel)  # type: ignore[assignment]  # its own stub is set there


class _Stub:
    """The generated stub without its serializer."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Export = channel.unary_unary(
            _EXPORT, response_deserializer=ExportTraceServiceResponse.FromString
        )


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """The bytes of the request that the library's `encode_spans` makes, in a quarter of the time."""
    resources: dict[int, dict[int, list[ReadableSpan]]] = {}
    for span in spans:
        scopes = resources.setdefault(id(span.resource), {})
        scopes.setdefault(id(span.instrumentation_scope), []).append(span)
    parts = []
    for scopes in resources.values():
        (resource,) = encode_spans([group[0] for group in scopes.values()]).resource_spans
        groups = []
        for scope, group in zip(resource.scope_spans, scopes.values(), strict=True):
            del scope.spans[:]
            encoded = b"".join(map(_span_in_scope, group))
            groups.append(_field(_SCOPE_SPANS, scope.SerializeToString() + encoded))
        del resource.scope_spans[:]
        parts.append(_field(_RESOURCE_SPANS, resource.SerializeToString() + b"".join(groups)))
    return b"".join(parts)


def _span_in_scope(span: ReadableSpan) -> bytes:
    try:
        encoded = _span(span)
    except (_NotPlain, TypeError):  # a sequence may be a list, which no cache takes
        (resource,) = encode_spans([span]).resource_spans
        message = resource.scope_spans[0].spans[0]
        # Whoever recorded an exception here, a library say, copied its text as it was (S2).
        for event in message.events:
            for attribute in event.attributes:
                if attribute.value.HasField("string_value"):
                    attribute.value.string_value = _redacted(attribute.value.string_value)
        message.status.message = _redacted(message.status.message)
        encoded = message.SerializeToString()
    return _field(_SPAN, encoded)


class _NotPlain(Exception):
    """There is something in the span that is left to the library."""


def _span(span: ReadableSpan) -> bytes:
    # The fields themselves: the properties copy what they give.
    context, parent, status, attributes = (
        span._context,
        span._parent,
        span._status,
        span._attributes,
    )
    if context is None or context.trace_state or span._events or span._links:
        raise _NotPlain
    if type(attributes) is not dict and span.dropped_attributes:
        raise _NotPlain
    trace_id, span_id, *_ = context
    parts = [
        b"\x0a\x10",
        trace_id.to_bytes(16),
        b"\x12\x08",
        span_id.to_bytes(8),
        _kept_text(_NAME, span._name),
        _KINDS[span._kind],
        pack("<BQBQ", 0x39, span._start_time, 0x41, span._end_time),
        _status(status.status_code, status.description),
    ]
    if parent is None:
        parts.append(_FLAGS_LOCAL)
    else:
        parts += b"\x22\x08", parent.span_id.to_bytes(8)
        parts.append(_FLAGS_REMOTE if parent.is_remote else _FLAGS_LOCAL)
    if attributes:
        parts += [
            _kept_attribute(key, value)
            if type(value) is not str or len(value) <= _LONGEST_KEPT
            else _attribute(key, value)
            for key, value in attributes.items()
        ]
    return b"".join(parts)


def _attribute(key: str, value: object) -> bytes:
    match value:
        case bool():
            encoded = pack("BB", 0x10, value)
        case str():
            encoded = _text(b"\x0a", value)
        case int():
            encoded = b"\x18" + _varint(value)
        case float():
            encoded = pack("<Bd", 0x21, value)
        case _:
            raise _NotPlain
    return _field(_ATTRIBUTE, _text(b"\x0a", key) + _field(b"\x12", encoded))


# Almost all attributes repeat: keys are few, and so are methods, routes, statuses, hosts and agents.
_kept_attribute = lru_cache(maxsize=4096, typed=True)(_attribute)


def _redacted(text: str) -> str:
    return redact_text(text, MAX_STACK)


@lru_cache(maxsize=64)
def _status(code: StatusCode, description: str | None) -> bytes:
    message = _text(b"\x12", _redacted(description)) if description else b""
    return _field(_STATUS, message + (pack("BB", 0x18, code.value) if code.value else b""))


def _text(tag: bytes, text: str) -> bytes:
    try:
        return _field(tag, text.encode())
    except UnicodeEncodeError:
        raise _NotPlain from None


_kept_text = lru_cache(maxsize=1024)(_text)


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


@lru_cache(maxsize=4096)
def _varint(number: int) -> bytes:
    if not -(2**63) <= number < 2**63:
        raise _NotPlain
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
