"""Natural cubic smoothing splines as matrices: from values at knots to values anywhere."""

import numpy as np

SCIPY_NEEDS = 5

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def smoothing_matrix(knots: Array, at: Array, smoothness: float) -> Array:
    """Return the matrix ``[m, n]`` that maps values at n knots to those of their smoothing spline at m points.

    The natural cubic spline minimises Σ_i (y_i − f(x_i))² + λ∫f''² and is extrapolated linearly. It is fitted by SciPy
    for five or more knots, by Reinsch's equations for fewer.

    Args:
        knots: x ``[n]``, all different, in any order.
        at: Points ``[m]``.
        smoothness: λ, 0 or more; 0 interpolates all values, a large λ gives the least-squares line.

    Source: Green and Silverman, Nonparametric Regression and Generalized Linear Models (1994), section 2.3.

    Example:
        >>> smoothing_matrix(np.array([0.0, 1.0]), np.array([0.5, 2.0]), smoothness=0.1).tolist()
        [[0.5, 0.5], [-1.0, 2.0]]
    """
    order = np.argsort(knots)
    fit = by_scipy if len(knots) >= SCIPY_NEEDS else by_reinsch
    matrix = np.empty((len(at), len(knots)))
    matrix[:, order] = fit(np.asarray(knots, float)[order], np.asarray(at, float), smoothness)
    return matrix


def by_scipy(knots: Array, at: Array, smoothness: float) -> Array:
    """Return the matrix of ``smoothing_matrix`` for five or more sorted knots, one column per unit vector."""
    from scipy.interpolate import make_smoothing_spline

    inside = np.clip(at, knots[0], knots[-1])
    columns = []
    for unit in np.eye(len(knots)):
        spline = make_smoothing_spline(knots, unit, lam=smoothness)
        columns.append(spline(inside) + spline.derivative()(inside) * (at - inside))
    return np.stack(columns, axis=1)


def by_reinsch(knots: Array, at: Array, smoothness: float) -> Array:
    """Return the matrix of ``smoothing_matrix`` for any number of sorted knots, including one."""
    n = len(knots)
    if n == 1:
        return np.ones((len(at), 1))
    h = np.diff(knots)
    second = np.zeros((n, n))  # from values at the knots to second derivatives there, 0 at both ends
    fitted = np.eye(n)
    if n > 2:
        q, r = np.zeros((n, n - 2)), np.zeros((n - 2, n - 2))
        for j in range(n - 2):
            q[j : j + 3, j] = 1 / h[j], -1 / h[j] - 1 / h[j + 1], 1 / h[j + 1]
            r[j, j] = (h[j] + h[j + 1]) / 3
            if j + 1 < n - 2:
                r[j, j + 1] = r[j + 1, j] = h[j + 1] / 6
        gamma = np.linalg.solve(r + smoothness * q.T @ q, q.T)
        fitted, second[1:-1] = np.eye(n) - smoothness * q @ gamma, gamma
    inside = np.clip(at, knots[0], knots[-1])
    i = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, n - 2)
    step, left, right = h[i][:, None], (inside - knots[i])[:, None], (knots[i + 1] - inside)[:, None]
    bend_left, bend_right = second[i], second[i + 1]
    value = (left * fitted[i + 1] + right * fitted[i]) / step - left * right / 6 * (
        (1 + left / step) * bend_right + (1 + right / step) * bend_left
    )
    slope = (fitted[i + 1] - fitted[i]) / step + (
        (3 * left**2 - step**2) * bend_right - (3 * right**2 - step**2) * bend_left
    ) / (6 * step)
    result: Array = value + slope * (at - inside)[:, None]
    return result
