"""Evaluation at equal budget: recipes on data sets, scored, stored, and compared.

- :mod:`counterpoint.evaluation.dataset`: examples from files;
- :mod:`counterpoint.evaluation.records`: what was evaluated, and what is kept of every answer;
- :mod:`counterpoint.evaluation.folder`: where it is kept;
- :mod:`counterpoint.evaluation.driver`: many examples in flight through the engine;
- :mod:`counterpoint.evaluation.result`: the figures of one evaluation;
- :mod:`counterpoint.evaluation.comparison`: several recipes on the same examples.
"""
