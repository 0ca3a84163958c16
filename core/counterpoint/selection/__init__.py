"""Data chosen by a verifier: answers in a file are scored, and the best lines kept (`cp.score`, `counterpoint score`).

``reading`` makes prompts and answers of lines, ``job`` says what is done with them, ``driving`` has them scored, ``choosing`` tells
which are kept, and ``scoring`` is all of it.
"""
