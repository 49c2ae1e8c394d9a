"""The units of packaging/systemd, as systemd has them."""
