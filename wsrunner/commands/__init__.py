"""The command ``wsrunner`` and what stands behind its subcommands.

::

    main ── the command, and `serve`           run, images, operate ── the other subcommands
    console ── a run at this terminal, with    sources, descriptors, terminal, notices, outcomes
    provision ── `setup`'s work                dashboard ── `monitor`'s picture
"""
