"""What a service talks to, for real: a database, a cache, a collector, a monitor, other services, and bad networks."""
