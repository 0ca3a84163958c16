"""Counterpoint as a library: one call, many prompts at once, a budget, and what it all cost.

python examples/use_as_library.py            # the shipped recipe `speculative`
python examples/use_as_library.py my.yaml    # any other
"""

from __future__ import annotations

import sys

import counterpoint as cp


def main(recipe: str = "speculative") -> None:
    """Runs a recipe in the three usual ways."""
    # One call. The models stay loaded for the next one.
    result = cp.run(recipe, "Write a haiku about two voices.", sampling=cp.Sampling(max_tokens=48))
    print(result.text)
    print(f"({result.finish_reason}; {result.summary.answer_tokens} tokens)\n")

    # An engine of your own: it owns the weights, and closing it gives them back.
    with cp.Engine() as engine:
        short = cp.Sampling(max_tokens=32, temperature=0.8)

        # Prompts in flight together share forward passes; every answer is what it would be alone.
        prompts = ["Name a composer of fugues.", "What is a canon?", "What is a counter-subject?"]
        for prompt, result in zip(prompts, engine.run_many(recipe, prompts, sampling=short, seed=7), strict=True):
            print(f"{prompt}\n  {result.text.strip()!r}")

        # A budget stops a run before the pass that would exceed it, and keeps what has been made.
        cut = engine.run(recipe, prompts[1], sampling=short, seed=7, budget="tokens=10")
        print(f"\nwith a budget of 10 tokens ({cut.finish_reason}): {cut.text!r}\n")

        # What it cost, per model; the numbers are folded from the run's events.
        for node in result.summary.nodes:
            if node.passes:
                print(f"{node.node}: {node.passes} passes, {node.tokens} tokens fed, {node.flops:.3g} FLOPs")


if __name__ == "__main__":
    main(*sys.argv[1:])
