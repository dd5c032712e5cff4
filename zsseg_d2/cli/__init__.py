"""The programs of the project. ``zsseg-d2 COMMAND`` and ``python tools/NAME.py`` call the ``main`` of a module here."""
