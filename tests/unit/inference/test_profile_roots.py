"""Crossings of known functions, and minima beside saddle points."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.testing import assert_allclose

from interlace.inference.profile_restricted import Restricted
from interlace.inference.profile_restrictions import Plane, Product
from interlace.inference.profile_roots import Path, Solved, crossing, march, minimum

LEVEL = 3.84


@dataclass
class Known:
    """A section whose profile is a given function, with z = sin(s)."""

    function: object
    slope: object
    at: float = 0.0
    curvature: float = 2.0
    bounds: tuple[float, float] = (-math.inf, math.inf)
    calls: list[float] = field(default_factory=list)
    others: tuple[np.ndarray, ...] = ()

    @property
    def start(self):
        return Solved(self.at, np.array([math.sin(self.at)]), 0.0, self.curvature, 0.0, True, None)

    def drift(self):
        return np.array([math.cos(self.at)])

    def rivals(self, found):
        return self.others

    def solve(self, s, z, tol):
        self.calls.append(s)
        rise = self.function(s)
        slope = self.slope(s) if math.isfinite(rise) else math.nan
        return Solved(s, np.array([math.sin(s)]), rise, slope, 0.0, True, z)


def _end(section, direction, level=LEVEL):
    return crossing(Path(section, direction), level)


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_parabola_takes_one_step(direction):
    section = Known(lambda s: s * s, lambda s: 2 * s)
    assert_allclose(_end(section, direction).s, direction * math.sqrt(LEVEL), rtol=1e-12)
    assert len(section.calls) <= 2


SKEWED = {
    "cubic": (lambda s: s * s + 0.12 * s**3, lambda s: 2 * s + 0.36 * s * s),
    "steep": (lambda s: math.exp(s) - 1 - s, lambda s: math.exp(s) - 1),
    "slow": (lambda s: 4 * math.log1p(s * s), lambda s: 8 * s / (1 + s * s)),
    "quartic": (lambda s: s**4, lambda s: 4 * s**3),
    "no slopes": (lambda s: s * s + 0.12 * s**3, lambda s: math.nan),
    "wrong curvature": (lambda s: 1e8 * s * s, lambda s: 2e8 * s),
    "far too small a curvature": (lambda s: 1e-6 * s * s, lambda s: 2e-6 * s),
}


@pytest.mark.parametrize("direction", [-1.0, 1.0])
@pytest.mark.parametrize("name", SKEWED)
def test_skewed_profiles(name, direction):
    function, slope = SKEWED[name]
    section = Known(function, slope)
    found = _end(section, direction)
    assert abs(function(found.s) - LEVEL) < 1e-7
    assert found.s * direction > 0.0
    assert len(section.calls) < 45


def test_unknown_curvature():
    assert_allclose(_end(Known(lambda s: s * s, lambda s: 2 * s, curvature=0.0), 1.0).s, math.sqrt(LEVEL))


def test_undefined_deviance_is_outside():
    section = Known(lambda s: s * s if s < 2.0 else math.inf, lambda s: 2 * s, curvature=0.1)
    assert_allclose(_end(section, 1.0).s, math.sqrt(LEVEL), rtol=1e-9)


def test_bound_is_reached_where_the_profile_ends_below_the_level():
    section = Known(lambda s: s * s, lambda s: 2 * s, bounds=(-1.5, 3.0))
    low, high = _end(section, -1.0), _end(section, 1.0)
    assert (low.s, low.rise) == (-1.5, 2.25)
    assert_allclose(high.s, math.sqrt(LEVEL))


def test_estimate_at_its_bound():
    section = Known(lambda s: s * s, lambda s: 2 * s, bounds=(0.0, math.inf))
    assert _end(section, -1.0).s == 0.0
    assert section.calls == []


def test_profile_that_levels_off_has_no_end():
    section = Known(lambda s: 3.0 * (1.0 - math.exp(-s * s)), lambda s: 6.0 * s * math.exp(-s * s), curvature=6.0)
    assert _end(section, 1.0).s == math.inf
    assert _end(section, -1.0).s == -math.inf


def test_nearest_crossing_of_a_wave():
    """Up to 4 at s = 2, down to 1, and up again."""

    def wave(s):
        if s < 2.0:
            return 2.0 - 2.0 * math.cos(math.pi * s / 2.0)
        return 4.0 - 3.0 * math.sin(s - 2.0) + 5.0 * max(s - 6.0, 0.0)

    def slope(s):
        return math.pi * math.sin(math.pi * s / 2.0) if s < 2.0 else -3.0 * math.cos(s - 2.0) + 5.0 * (s > 6.0)

    section = Known(wave, slope, curvature=math.pi**2 / 2.0)
    found = _end(section, 1.0, 3.5)
    assert_allclose(found.s, 2.0 / math.pi * math.acos(1.0 - 1.75), rtol=1e-8)


def test_another_minimum_that_is_lower():
    """From z = 9 the minimization ends in s^2 / 4, from anywhere else in s^2."""

    @dataclass
    class Two(Known):
        def solve(self, s, z, tol):
            low = z[0] == 9.0
            part = 0.25 if low else 1.0
            return Solved(s, np.array([9.0 if low else 0.0]), part * s * s, 2 * part * s, 0.0, True, None)

    section = Two(lambda s: s * s, lambda s: 2 * s)
    assert_allclose(_end(section, 1.0).s, math.sqrt(LEVEL))
    section.others = (np.array([9.0]),)
    assert_allclose(_end(section, 1.0).s, 2.0 * math.sqrt(LEVEL))


def test_jump_to_a_plateau_is_seen_through():
    """Beyond 1.5 a minimization from afar ends on a plateau above the level, one from nearby in the parabola."""

    @dataclass
    class Plateau(Known):
        def solve(self, s, z, tol):
            near = abs(z[0] - s) < 0.25
            if s > 1.5 and not near:
                return Solved(s, np.array([-5.0]), 6.0, 0.0, 0.0, True, None)
            return Solved(s, np.array([s]), s * s, 2 * s, 0.0, True, None)

        def drift(self):
            return np.array([0.0])

    assert_allclose(_end(Plateau(None, None, curvature=1.0), 1.0).s, math.sqrt(LEVEL), rtol=1e-8)


def test_march_keeps_even_steps_of_zeta():
    section = Known(lambda s: s * s + 0.12 * s**3, lambda s: 2 * s + 0.36 * s * s)
    points = march(Path(section, 1.0), 2.5, 8)
    zeta = np.array([p.zeta(1.0) for p in points])
    assert zeta[-1] >= 2.5 > zeta[-2]
    assert (np.diff(zeta) > 0.15).all()
    assert (np.diff(zeta) < 0.5).all()


def test_march_stops_at_the_bound():
    section = Known(lambda s: s * s, lambda s: 2 * s, bounds=(-1.0, math.inf))
    points = march(Path(section, -1.0), 2.5, 8)
    assert points[-1].s == -1.0
    assert march(Path(Known(lambda s: s * s, lambda s: 2 * s, bounds=(0.0, 1.0)), -1.0), 2.5, 8) == []


@dataclass
class Double:
    """x_0^4 - 2 a x_0^2 + x_1^2: a saddle at zero for a > 0, with minima of -a^2 beside it."""

    a: float
    structure = None
    evaluations = 0

    def at(self, x):
        return x

    def value(self, x):
        return x[0] ** 4 - 2 * self.a * x[0] ** 2 + x[1] ** 2 + x[2] ** 2

    __call__ = value

    def derivatives(self, x):
        @dataclass
        class Slopes:
            gradient: np.ndarray

        return Slopes(np.array([4 * x[0] ** 3 - 4 * self.a * x[0], 2 * x[1], 2 * x[2]]))

    def information(self, x, d):
        return np.diag([12 * x[0] ** 2 - 4 * self.a, 2.0, 2.0])

    def noise(self, value):
        return 1e-14

    def lost(self, x):
        return 0.0

    def vanished(self, x):
        return False


@pytest.mark.parametrize(("a", "least"), [(0.3, -0.09), (-0.3, 0.0)])
def test_saddle_points_are_left(a, least):
    fixed = Restricted(Double(a), Plane(np.array([0.0, 0.0, 1.0]), 2), 0.0)
    z, value, _, _, converged = minimum(fixed, np.zeros(2), tol=1e-9, max_iterations=50)
    assert converged
    assert_allclose(value, least, atol=1e-9)
    assert_allclose(abs(z[0]), math.sqrt(max(a, 0.0)), atol=1e-5)


def test_no_free_coordinate():
    class One(Double):
        def value(self, x):
            return x[0] ** 2

        def derivatives(self, x):
            return type("Slopes", (), {"gradient": 2 * x})()

    fixed = Restricted(One(0.0), Plane(np.array([1.0]), 0), 0.4)
    z, value, _, d, converged = minimum(fixed, np.empty(0), tol=1e-9, max_iterations=50)
    assert (z.size, converged) == (0, True)
    assert_allclose([value, d.by_s], [0.16, 0.8])


def test_information_of_a_curved_restriction():
    """Where the Hessian of the deviance is exact, so is that of the restricted one."""
    fixed = Restricted(Double(0.3), Product(0, 1.4), 0.8)
    z, h = np.array([0.4, -0.2]), 1e-6
    H = fixed.information(fixed.at(z), fixed.derivatives(fixed.at(z)))
    steps = h * np.eye(2)
    numeric = [
        (fixed.derivatives(fixed.at(z + d)).gradient - fixed.derivatives(fixed.at(z - d)).gradient) / (2 * h)
        for d in steps
    ]
    assert_allclose(H, numeric, atol=1e-7)


def test_start_without_a_deviance():
    class Broken(Double):
        def value(self, x):
            return math.inf if x[0] > 1.0 else super().value(x)

        def derivatives(self, x):
            d = super().derivatives(x)
            d.gradient[0] = math.nan if x[0] > 1.0 else d.gradient[0]
            return d

        def information(self, x, d):
            return np.full((3, 3), math.nan) if x[0] > 1.0 else super().information(x, d)

    fixed = Restricted(Broken(0.3), Plane(np.array([0.0, 0.0, 1.0]), 2), 0.0)
    _, value, _, d, converged = minimum(fixed, np.array([2.0, 0.0]), tol=1e-9, max_iterations=50)
    assert (value, d, converged) == (math.inf, None, False)
    assert_allclose(minimum(fixed, np.array([0.9, 0.1]), tol=1e-9, max_iterations=50)[1], -0.09, atol=1e-9)
