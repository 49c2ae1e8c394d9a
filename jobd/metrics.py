"""What `/metrics` says of the file service."""

from __future__ import annotations

import errno

from jobd.jobs.metrics import metric
from jobd.ninep.protocol import NinepFactory


def ninep_metrics(factory: NinepFactory) -> list[str]:
    """Connections and requests of FACTORY, as lines of the Prometheus text format."""
    traffic = factory.traffic
    return [
        *metric("jobd_connections", "gauge", "Connections there are.", [("", len(factory.connections))]),
        *metric(
            "jobd_connections_total",
            "counter",
            "Connections since the start.",
            [('{state="accepted"}', traffic.connections), ('{state="refused"}', traffic.refused)],
        ),
        *metric(
            "jobd_requests_total",
            "counter",
            "9P messages received since the start, by type.",
            [(f'{{type="{name}"}}', count) for name, count in sorted(traffic.requests.items())],
        ),
        *metric(
            "jobd_request_errors_total",
            "counter",
            "9P messages that were answered with an error since the start.",
            [
                (f'{{errno="{errno.errorcode.get(number, number)}"}}', count)
                for number, count in sorted(traffic.errors.items())
            ],
        ),
    ]
