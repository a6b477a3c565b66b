"""Runs that outlive a socket: their journals, who reads and drives them, on whichever replica.

::

    house ── all that this process keeps     kept ── a run of this process, for many readers
    show ── a run as its readers see it      journal ── its last events, and cursors into them
    lanes ── whose stdin came how far

A run that nobody keeps or shares never comes here. Must not import websockets.
"""
