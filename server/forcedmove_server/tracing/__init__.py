"""OpenTelemetry traces: a span per call and per tick, sent to a collector over OTLP. Off unless an endpoint is given.

The only room that imports OpenTelemetry, and only once it is asked to trace: the extra ``tracing`` brings it.
"""
