"""Daemons that are killed at random moments under load, on disks that are good, full or broken."""
