"""Events as they come, for programs that are asynchronous already: print text, watch drafts, stop when there is enough.

python examples/async_stream.py [RECIPE]
"""

from __future__ import annotations

import asyncio
import sys

import counterpoint as cp

ENOUGH = 120
"""Characters after which we have read enough."""


async def main(recipe: str = "speculative") -> None:
    """Streams one answer until there is enough of it, then runs two prompts at once."""
    stream = cp.stream(recipe, "Explain in a few sentences what a fugue is.")
    length = drafted = accepted = 0
    async for event in stream:
        match event.type:
            case "progress" if event.phase == "download":
                print(f"\r{event.item}: {event.done:.0f} of {event.total or 0:.0f} {event.unit}", end="", file=sys.stderr)
            case "verified":
                drafted += event.proposed
                accepted += event.accepted
            case "emitted" if event.span == 1:  # span 1 is the recipe's output: its text is the answer
                print(event.text, end="", flush=True)
                length += len(event.text)
                if length >= ENOUGH:
                    stream.cancel()  # takes effect within one forward pass; the stream then ends by itself
    result = await stream
    print(f"\n\n{result.finish_reason}: {len(result.completion.ids)} tokens; {accepted} of {drafted} drafted tokens stood")

    # Several at once, in the order they finish.
    streams = [cp.stream(recipe, f"Name {n} instruments.", sampling=cp.Sampling(max_tokens=24)) for n in ("two", "three")]
    for finished in asyncio.as_completed([asyncio.ensure_future(_text(one)) for one in streams]):
        print(repr(await finished))


async def _text(stream: cp.RunStream) -> str:
    return (await stream).text


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
