"""Criteria that cannot be seen from outside, and the tests inside the template that cover them."""

import ast
from pathlib import Path

_CHASSIS = "template/chassis/tests"

WHITE_BOX: dict[str, tuple[str, ...]] = {
    "S4": (
        f"{_CHASSIS}/test_configuration.py::TestExample::test_has_every_variable_with_default_and_meaning",
        "tests/test_service.py::test_check_complains",
    ),
    "L8": (
        f"{_CHASSIS}/test_encoding.py::test_any_value_is_strict_json",
        f"{_CHASSIS}/test_encoding.py::test_values_that_raise_leave_a_placeholder",
    ),
    "L9": (
        f"{_CHASSIS}/test_logging_process.py::test_configuring_again_replaces_the_own_handler_and_no_other",
    ),
    "M7": (f"{_CHASSIS}/test_metrics.py::test_two_applications_share_nothing",),
    "D1": (
        "template/tests/integration/test_application.py::"
        "test_the_container_lives_as_long_as_the_application",
        "template/tests/integration/test_application.py::"
        "test_what_is_opened_is_closed_in_reverse_order",
    ),
    "D3": ("template/tests/integration/test_application.py::test_two_applications_share_nothing",),
    # Only the sample's 204 and HEAD are seen from outside.
    "E1": (f"{_CHASSIS}/test_errors.py::TestRefusals::test_some_statuses_have_no_body",),
    "X1": ("tests/test_service.py::test_own_tests_pass",),
    "X2": (
        "tests/test_service.py::test_own_tests_pass",
        "tests/conformance/test_mutation.py::test_unplugging_turns_tests_and_checks_red",
    ),
    "B5": (f"{_CHASSIS}/test_client.py::TestRetries::test_a_failed_call_is_tried_again",),
    "B7": (
        f"{_CHASSIS}/test_breaker.py::TestReporting::test_every_change_is_reported_once_it_holds",
    ),
}
"""Test IDs by criterion: `path from the repository's root::class::function`."""


def missing(repository: Path) -> list[str]:
    """Return each named test that does not exist."""
    found = []
    for test in sorted({test for tests in WHITE_BOX.values() for test in tests}):
        name, *qualified = test.split("::")
        path = repository / name
        if not path.exists() or not _defines(ast.parse(path.read_text("utf-8")), qualified):
            found.append(test)
    return found


def _defines(node: ast.AST, qualified: list[str]) -> bool:
    if not qualified:
        return True
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return any(
        isinstance(child, kinds) and child.name == qualified[0] and _defines(child, qualified[1:])
        for child in ast.iter_child_nodes(node)
    )
