"""The 9P protocol for Twisted: 9P2000, 9P2000.u and 9P2000.L, server and client.

It knows nothing of jobs and could be a package of its own.
"""
