"""Rooms: people with names and roles, and a document that they keep together.

::

    hall ── all rooms of this process     room ── one of them: who is there, its document, its seats

What the document's updates hold nobody here knows. Must not import websockets.
"""
