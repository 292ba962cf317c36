"""Traces with OpenTelemetry, from the publisher of a message to what its controller publishes."""
