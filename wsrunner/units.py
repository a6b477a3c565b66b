"""Settings and the wire count in KiB and MiB (``_kb``, ``_mb``); inside, sizes are bytes."""

KIB = 1024
MIB = 1024 * KIB
