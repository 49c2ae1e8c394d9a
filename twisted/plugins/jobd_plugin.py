"""Makes `twistd jobd` and `twist jobd` known to Twisted."""

from twisted.application.service import ServiceMaker

jobd = ServiceMaker("jobd", "jobd.tap", "Cron as a 9P file system.", "jobd")
