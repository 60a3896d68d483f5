"""Spans as OTLP, encoded for speed.

The library builds a Python object for every value of every span, which costs more than the span
itself. Here the bytes of a span are written directly; what does not repeat in a plain way (events,
links, sequences) and everything around the spans is still the library's. The tests compare both.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import pack
from typing import Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

# Tags of opentelemetry/proto/trace/v1/trace.proto: number of the field and wire type.
_NAME, _ATTRIBUTE, _STATUS, _SPAN = b"\x2a", b"\x4a", b"\x7a", b"\x12"
_KINDS: Final = {kind: pack("BB", 0x30, kind.value + 1) for kind in SpanKind}
_FLAGS_LOCAL, _FLAGS_REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
_LONGEST_KEPT: Final = 256


class SpanExporter(OTLPSpanExporter):
    """The library's exporter with the encoding of this module."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return encode(data)


def encode(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """The same request as the library's `encode_spans`, in a third of the time."""
    resources: dict[int, dict[int, list[ReadableSpan]]] = {}
    for span in spans:
        scopes = resources.setdefault(id(span.resource), {})
        scopes.setdefault(id(span.instrumentation_scope), []).append(span)
    request = ExportTraceServiceRequest()
    for scopes in resources.values():
        firsts = encode_spans([group[0] for group in scopes.values()])
        for scope, group in zip(firsts.resource_spans[0].scope_spans, scopes.values(), strict=True):
            scope.MergeFromString(b"".join(map(_span_in_scope, group[1:])))
        request.MergeFrom(firsts)
    return request


def _span_in_scope(span: ReadableSpan) -> bytes:
    try:
        encoded = _span(span)
    except _NotPlain:
        (resource,) = encode_spans([span]).resource_spans
        encoded = resource.scope_spans[0].spans[0].SerializeToString()
    return _field(_SPAN, encoded)


class _NotPlain(Exception):
    """There is something in the span that is left to the library."""


def _span(span: ReadableSpan) -> bytes:
    context, parent, status = span.context, span.parent, span.status
    if span.events or span.links or span.dropped_attributes or context.trace_state:
        raise _NotPlain
    parts = [
        b"\x0a\x10",
        context.trace_id.to_bytes(16),
        b"\x12\x08",
        context.span_id.to_bytes(8),
        _kept_text(_NAME, span.name),
        _KINDS[span.kind],
        pack("<BQBQ", 0x39, span.start_time, 0x41, span.end_time),
        _status(status.status_code.value, status.description),
        _FLAGS_REMOTE if parent is not None and parent.is_remote else _FLAGS_LOCAL,
    ]
    if parent is not None:
        parts.append(b"\x22\x08" + parent.span_id.to_bytes(8))
    for key, value in (span.attributes or {}).items():
        if type(value) is str and len(value) > _LONGEST_KEPT:
            parts.append(_attribute.__wrapped__(key, value))
        else:
            parts.append(_attribute(key, value))
    return b"".join(parts)


# Almost all attributes repeat: keys are few, and so are methods, routes, statuses, hosts and agents.
@lru_cache(maxsize=4096, typed=True)
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


@lru_cache(maxsize=64)
def _status(code: int, description: str | None) -> bytes:
    message = _text(b"\x12", description) if description else b""
    return _field(_STATUS, message + (pack("BB", 0x18, code) if code else b""))


def _text(tag: bytes, text: str) -> bytes:
    try:
        return _field(tag, text.encode())
    except UnicodeEncodeError:
        raise _NotPlain from None


_kept_text = lru_cache(maxsize=1024)(_text)


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


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
