"""The applications that are measured, each in one file with one function `create`."""
