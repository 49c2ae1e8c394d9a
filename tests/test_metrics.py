"""What `/metrics` says of the file service."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobd.metrics import ninep_metrics
from jobd.ninep import messages as m
from jobd.ninep.protocol import NinepFactory


class NinepMetricsTest(SynchronousTestCase):
    """`ninep_metrics`."""

    def test_lines(self) -> None:
        """Each count has its line, with the names that people know."""
        factory = NinepFactory(None)
        factory.traffic.connections = 3
        factory.traffic.types[m.TYPES[m.Twalk]] = 7
        factory.traffic.errors[2] = 5
        lines = ninep_metrics(factory)
        for line in (
            "jobd_connections 0",
            'jobd_connections_total{state="accepted"} 3',
            'jobd_requests_total{type="Twalk"} 7',
            'jobd_request_errors_total{errno="ENOENT"} 5',
        ):
            self.assertIn(line, lines)
