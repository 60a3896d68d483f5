"""S3 for the variables that only the OpenTelemetry SDK reads."""

import pytest

from chassis.configuration import ConfigurationError, load
from chassis.settings import ChassisSettings


@pytest.mark.criterion("S3")
@pytest.mark.parametrize(
    ("variable", "right", "wrong"),
    [
        # The last right one is the default: it stays in force.
        ("OTEL_PROPAGATORS", ["", "none", "tracecontext, baggage"], ["tracecontext,pigeon"]),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", ["10", "0.5"], ["10s", "-1", "0", "0.0", "nan", ""]),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", ["gzip", "GZIP"], ["foo", "none"]),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", ["0", "128", ""], ["abc", "-1"]),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", ["0"], ["-1"]),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", ["40"], ["1.5"]),
        ("OTEL_BSP_SCHEDULE_DELAY", ["200", ""], ["0", "soon"]),
    ],
)
def test_they_are_checked_with_the_others(
    variable: str,
    right: list[str],
    wrong: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in right:
        monkeypatch.setenv(variable, value)
        load(ChassisSettings, _env_file=None)
    for value in wrong:
        monkeypatch.setenv(variable, value)
        with pytest.raises(ConfigurationError) as refused:
            load(ChassisSettings, _env_file=None, port="none")
        assert {p.variable for p in refused.value.problems} == {variable, "PORT"}
