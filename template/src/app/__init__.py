"""The service itself: what makes it different from every other one."""
