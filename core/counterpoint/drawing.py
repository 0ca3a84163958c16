"""Executes draws: the torch side of :mod:`counterpoint.draws`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint import tensors
from counterpoint.draws import Drawn, DrawRequest, Verdict


@torch.inference_mode()
def serve(requests: Sequence[DrawRequest]) -> list[Drawn | Verdict]:
    """Serves requests with equal sampling settings, vocabulary and device, with one synchronisation."""
    sampling = requests[0].sampling
    logits = _joined([_prepare(request) for request in requests])
    own = logits
    if any(request.seen is not None or request.forbidden_rows for request in requests):
        own = _joined([request.logits.float() for request in requests])
    normalizer = tensors.log_normalizer(own)
    if requests[0].accept_keys:
        processed = tensors.process(logits, sampling)
        chosen, accepted = _verify(requests, processed)
    elif sampling.greedy:
        chosen = tensors.argmax(logits)
        processed = None
        accepted = None
    else:
        processed = tensors.process(logits, sampling)
        chosen = tensors.draw(processed, [key for request in requests for key in request.keys])
        accepted = None
    index = chosen[:, None]
    plain = own.gather(-1, index)[:, 0] - normalizer
    after = plain.exp() if processed is None else processed.gather(-1, index)[:, 0].exp()
    table = [chosen.double(), plain.double(), after.double()]
    if accepted is not None:
        table.append(accepted.double())
    many = min(max(request.alternatives for request in requests), own.shape[-1])
    if many:
        best = (own - normalizer[:, None]).topk(many, dim=-1)
        table += [*best.indices.T.double(), *best.values.T.double()]
    columns = torch.stack(table).tolist()  # the one synchronisation
    return _split(requests, columns, many, accepted is not None)


def _joined(rows: list[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _prepare(request: DrawRequest, logits: Tensor | None = None) -> Tensor:
    """Rows (by default the request's own; draft rows alike) after penalty and prohibitions."""
    logits = (request.logits if logits is None else logits).float()
    if request.seen is not None:
        logits = tensors.penalize(logits, request.seen[: len(logits)], request.sampling.repetition_penalty)
    if request.forbidden and request.forbidden_rows:
        logits = logits.clone()
        logits[: request.forbidden_rows, list(request.forbidden)] = -torch.inf
    return logits


def _verify(requests: Sequence[DrawRequest], processed: Tensor) -> tuple[Tensor, Tensor]:
    """The lossless rule (arXiv 2211.17192, algorithm 1; 2302.01318), every position at once.

    Returns, for every row, the token that stands there if it is reached: the draft token where it is accepted, a draw from
    the residual where it is rejected, a draw from the target after the last draft token; and whether the row accepts.
    """
    tokens, accepts = [], []
    start = 0
    for request in requests:
        rows = processed[start : start + len(request.keys)]
        start += len(request.keys)
        device = rows.device
        count = len(request.draft_ids or ())
        ids = torch.tensor(request.draft_ids or (), dtype=torch.long, device=device)[:, None]
        target = rows[:count]
        if request.draft_logits is None:
            draft = torch.full_like(target, -torch.inf).scatter(-1, ids, 0.0)
        else:
            draft = tensors.process(_prepare(request, request.draft_logits), request.sampling)
        ratio = (target.gather(-1, ids) - draft.gather(-1, ids))[:, 0].exp()
        accept = tensors.uniforms(request.accept_keys, device)[:count] < ratio
        instead = tensors.draw(torch.cat([tensors.residual(target, draft), rows[count:]]), request.keys)
        tokens.append(torch.cat([torch.where(accept, ids[:, 0], instead[:count]), instead[count:]]))
        accepts.append(torch.cat([accept, accept.new_zeros(1)]))
    return torch.cat(tokens), torch.cat(accepts)


def _split(requests: Sequence[DrawRequest], columns: list[list[float]], many: int, verified: bool) -> list[Drawn | Verdict]:
    results: list[Drawn | Verdict] = []
    start = 0
    first = 4 if verified else 3
    for request in requests:
        rows = range(start, start + len(request.keys))
        start = rows.stop
        accepted = 0
        if verified:
            while accepted < len(request.keys) - 1 and columns[3][rows[accepted]]:
                accepted += 1
            rows = rows[: accepted + 1]
        alternatives = tuple(
            tuple((int(columns[first + j][i]), columns[first + many + j][i]) for j in range(min(request.alternatives, many)))
            for i in (rows if request.alternatives else ())
        )
        drawn = Drawn(
            tuple(int(columns[0][i]) for i in rows),
            tuple(columns[1][i] for i in rows),
            tuple(columns[2][i] for i in rows),
            alternatives,
        )
        results.append(Verdict(accepted, drawn) if verified else drawn)
    return results
