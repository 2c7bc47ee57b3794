"""Quadratic programs over non-negative numbers, solved by PIQP."""

import numpy as np

QP_TOLERANCE = 1e-12  # residuals and duality gap; the solution itself is then exact to about the root of it


def solve_quadratic(quadratic, linear, equalities, right, upper, tolerance=QP_TOLERANCE):
    r"""The x that minimises :math:`\frac12 \langle x, H x \rangle + \langle c, x \rangle` with :math:`A x = b` and :math:`0 \le x \le u`.

    H = `quadratic` and A = `equalities` are sparse in CSC, c = `linear`, b = `right`, u = `upper`, where infinity is no bound;
    `tolerance` is that of the residuals and of the duality gap. Raises RuntimeError if the solver does not converge.
    """
    import piqp  # here, because not every platform that runs the rest has it

    solver = piqp.SparseSolver()
    settings = solver.settings
    settings.eps_abs = settings.eps_rel = tolerance
    settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = tolerance
    # PIQP regularises the KKT system; with its own lower limits it can stall short of this tolerance.
    settings.reg_lower_limit, settings.reg_finetune_lower_limit = 1e-13, 1e-15
    solver.setup(quadratic, linear, equalities, right, x_l=np.zeros(linear.size), x_u=upper)
    status = solver.solve()
    if status != piqp.PIQP_SOLVED:
        raise RuntimeError(f"PIQP did not solve the problem over the occupancies: {status}")
    return np.clip(solver.result.x, 0.0, upper)
