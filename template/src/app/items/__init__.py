"""The sample resource. README.md says how to remove it."""
