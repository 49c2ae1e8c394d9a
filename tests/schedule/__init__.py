"""Tests of jobd.schedule."""
