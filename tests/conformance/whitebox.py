"""Criteria that cannot be seen from outside, and the tests inside the template that cover them."""

WHITE_BOX: dict[str, tuple[str, ...]] = {}
"""Test IDs by criterion: `path from the repository's root::function`."""
