"""What runs inside a sandbox. Standard library only, and relative imports: in there the package is called ``inside``.

Our own process imports none of this except to have it compiled; it is started as a program (see ``counterpoint.sandbox.spawning``).
"""
