"""Power law: the loss of a domain over the tokens that were trained on, `ε + β n^-α` (Hoffmann et al., 2022).

For one α the best ε and β are those of a straight line in n^-α, so that one number is searched (variable projection;
Golub & Pereyra, 1973): on a grid, three times, each between the neighbours of the best before. All domains at once.

Shape legend: K domains, N points of each, of which those of weight 0 are no points; G exponents of a grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_POINTS = 4
EXPONENTS = 0.02, 2.0  # the least and the largest α that is looked for
_GRID, _ROUNDS = 17, 3

Array = NDArray[np.float64]


def fit_power_laws(amounts_KN: Array, losses_KN: Array, weights_KN: Array) -> tuple[Array, Array, Array]:
    """ε, β and α of least weighted squares, with ε of at least 0; NaN with too few points, or where no loss falls."""
    logs_KN = np.log(np.maximum(amounts_KN, 1.0))
    low_K, high_K = (np.full(len(amounts_KN), np.log(end)) for end in EXPONENTS)
    rows_K = np.arange(len(amounts_KN))
    for _ in range(_ROUNDS):
        exponents_KG = np.exp(low_K[:, None] + np.linspace(0, 1, _GRID) * (high_K - low_K)[:, None])
        squares_KG, floors_KG, scales_KG = _project(exponents_KG, logs_KN, losses_KN, weights_KN)
        best_K = squares_KG.argmin(1)
        low_K = np.log(exponents_KG[rows_K, np.maximum(best_K - 1, 0)])
        high_K = np.log(exponents_KG[rows_K, np.minimum(best_K + 1, _GRID - 1)])
    floors_K, scales_K, exponents_K = (found[rows_K, best_K] for found in (floors_KG, scales_KG, exponents_KG))
    is_law_K = ((weights_KN > 0).sum(1) >= MIN_POINTS) & (scales_K > 0)
    return tuple(np.where(is_law_K, found, np.nan) for found in (floors_K, scales_K, exponents_K))  # type: ignore[return-value]


def _project(exponents_KG: Array, logs_KN: Array, losses_KN: Array, weights_KN: Array) -> tuple[Array, Array, Array]:
    """Squares that are left, ε and β of the best line for each α."""
    powers_KGN = np.exp(-exponents_KG[:, :, None] * logs_KN[:, None, :])
    weights_K1N, losses_K1N = weights_KN[:, None, :], losses_KN[:, None, :]
    total_K1 = np.maximum(weights_KN.sum(1), 1e-300)[:, None]
    mean_powers_KG = (weights_K1N * powers_KGN).sum(2) / total_K1
    mean_loss_K1 = (weights_KN * losses_KN).sum(1)[:, None] / total_K1
    centred_KGN = powers_KGN - mean_powers_KG[:, :, None]
    spread_KG = np.maximum((weights_K1N * centred_KGN**2).sum(2), 1e-300)
    scales_KG = (weights_K1N * centred_KGN * (losses_K1N - mean_loss_K1[:, :, None])).sum(2) / spread_KG
    floors_KG = mean_loss_K1 - scales_KG * mean_powers_KG
    # A loss is never below 0: then the line goes through the origin.
    through_KG = (weights_K1N * powers_KGN * losses_K1N).sum(2) / np.maximum(
        (weights_K1N * powers_KGN**2).sum(2), 1e-300
    )
    scales_KG, floors_KG = np.where(floors_KG < 0, through_KG, scales_KG), np.maximum(floors_KG, 0.0)
    left_KGN = losses_K1N - floors_KG[:, :, None] - scales_KG[:, :, None] * powers_KGN
    return (weights_K1N * left_KGN**2).sum(2), floors_KG, scales_KG
