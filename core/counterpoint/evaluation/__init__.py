"""Evaluation at equal budget: recipes on data sets, scored, stored, and compared.

- :mod:`counterpoint.evaluation.dataset`: examples from files;
- :mod:`counterpoint.evaluation.records`: what is kept of every answer, and the folder it is kept in;
- :mod:`counterpoint.evaluation.driver`: many examples in flight through the engine;
- :mod:`counterpoint.evaluation.result`: the figures of one evaluation;
- :mod:`counterpoint.evaluation.comparison`: several recipes on the same examples.
"""
