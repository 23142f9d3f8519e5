"""Constraints as a user would write them, by import path."""

import cvxpy

ROWS = ([[0.0, 1.0, 0.0], [1.0, 0.0, 2.0]], [0.3, 0.5])
NO_FUNCTION = 3


def linear(weights):
    return [weights[1] >= 0.3, weights[0] + 2 * weights[2] >= 0.5]


def ball(weights):
    return [cvxpy.sum_squares(weights - 1 / weights.shape[0]) <= 0.05]


def entropy(weights):
    return [cvxpy.sum(cvxpy.entr(weights)) >= 0.9]


def nothing(weights):
    return []


def impossible(weights):
    return [weights[0] + weights[1] >= 1.5]


def not_convex(weights):
    return [cvxpy.sum_squares(weights) >= 0.9]


def of_four(weights):
    return [weights[3] >= 0.1]


def no_constraints(weights):
    return ["weights[0] > 0"]
