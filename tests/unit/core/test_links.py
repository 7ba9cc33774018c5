"""Links against R, against 120-digit arithmetic in the tails, and against finite differences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from interlace.core.linkbase import Link
from interlace.core.links import LINKS, link

pytestmark = [pytest.mark.fast, pytest.mark.filterwarnings("error::RuntimeWarning")]

POSITIVE = ("sqrt", "inverse", "1/mu^2")
PROBABILITIES = ("logit", "probit", "cloglog", "cauchit")


def numbers(text):
    return np.array(text.split(), dtype=float)


# R 4.2.2, make.link(name): linkinv and mu.eta at eta = -3, -0.5, 0.2, 1.5 (absolute values for sqrt, inverse, 1/mu^2)
R_ETA = np.array([-3.0, -0.5, 0.2, 1.5])
R_VALUES = {
    "logit": numbers("""
        0.04742587317756679 0.37754066879814546 0.54983399731247795 0.81757447619364365
        0.04517665973091214 0.23500371220159449 0.24751657271186001 0.14914645207033286
    """),
    "probit": numbers("""
        0.001349898031630095 0.308537538725986937 0.579259709439102988 0.933192798731141915
        0.004431848411938008 0.352065326764299524 0.391042693975455879 0.129517595665891744
    """),
    "cloglog": numbers("""
        0.04856800709954660 0.45476078810739495 0.70518367927084191 0.98868571361954039
        0.04736900967790792 0.33070429889041808 0.36008946728922703 0.05070711360998073
    """),
    "cauchit": numbers("""
        0.10241638234956672 0.35241638234956674 0.56283295818900125 0.81283295818900125
        0.03183098861837907 0.25464790894703254 0.30606719825364487 0.09794150344116635
    """),
    "log": [0.04978706836786394, 0.60653065971263342, 1.22140275816016985, 4.48168907033806452] * 2,
    "identity": [-3.0, -0.5, 0.2, 1.5, 1.0, 1.0, 1.0, 1.0],
    "sqrt": [9.0, 0.25, 0.04, 2.25, 6.0, 1.0, 0.4, 3.0],
    "inverse": numbers("""
        0.3333333333333333 2.0 5.0 0.6666666666666666
        -0.1111111111111111 -4.0 -25.0 -0.4444444444444444
    """),
    "1/mu^2": numbers("""
        0.57735026918962584 1.41421356237309492 2.23606797749978981 0.81649658092772615
        -0.09622504486493763 -1.41421356237309492 -5.59016994374947362 -0.27216552697590868
    """),
}

# mpmath 1.4, 120 to 900 digits: eta, log(mu) and its three derivatives, log(1 - mu) and its three derivatives
TAILS = {
    "logit": """
        -700 -700 1 -9.85967654376e-305 -9.85967654376e-305
            -9.85967654376e-305 -9.85967654376e-305 -9.85967654376e-305 -9.85967654376e-305
        -37.5 -37.5 1 -5.1755550058e-17 -5.1755550058e-17
            -5.1755550058e-17 -5.1755550058e-17 -5.1755550058e-17 -5.1755550058e-17
        -8.2 -8.20027461586 0.999725421844 -0.000274502762938 -0.000274352018013
            -0.000274615859585 -0.000274578156101 -0.000274502762938 -0.000274352018013
        -2 -2.12692801104 0.880797077978 -0.104993585404 -0.0799625010562
            -0.126928011043 -0.119202922022 -0.104993585404 -0.0799625010562
        0.4 -0.5130152524 0.401312339888 -0.240260745742 0.0474215416282
            -0.9130152524 -0.598687660112 -0.240260745742 0.0474215416282
        3 -0.0485873515737 0.0474258731776 -0.0451766597309 0.0408915746609
            -3.04858735157 -0.952574126822 -0.0451766597309 0.0408915746609
        12 -6.14419347773e-06 6.14417460221e-06 -6.14413685133e-06 6.14406135003e-06
            -12.0000061442 -0.999993855825 -6.14413685133e-06 6.14406135003e-06
        700 -9.85967654376e-305 9.85967654376e-305 -9.85967654376e-305 9.85967654376e-305
            -700 -1 -9.85967654376e-305 9.85967654376e-305
    """,
    "probit": """
        -700 -245007.470021 700.001428566 -0.999997959209 5.83076099609e-09
            -0 -0 -0 -0
        -37.5 -707.668989318 37.5266288749 -0.999291905115 3.76051401564e-05
            -4.60535300958e-308 -1.72823373228e-306 -6.48087649607e-305 -2.42860045229e-303
        -8.2 -36.6574286014 8.31856753082 -0.98631201213 0.00308012844094
            -1.20193515427e-16 -9.9983787485e-16 -8.19867057377e-15 -6.622926083e-14
        -2 -3.78318433368 2.37321553282 -0.885720899586 0.0593558612916
            -0.023012909329 -0.055247862679 -0.113548051689 -0.184394815032
        0.4 -0.422476370228 0.561882703797 -0.540465254345 0.26165955478
            -1.06543404919 -1.06875617175 -0.714737285946 -0.173108684939
        3 -0.00135080996475 0.00443783904213 -0.0133332115417 0.0356801368766
            -6.60772622151 -3.28309865493 -0.929440813215 -0.0314706728308
        12 -1.77648211208e-33 2.14638373566e-32 -2.5756604828e-31 3.069328742e-30
            -75.4106730016 -12.0822141753 -0.993329273664 -0.00106860269604
        700 -0 0 -0 0
            -245007.470021 -700.001428566 -0.999997959209 -5.83076099609e-09
    """,
    "cloglog": """
        -700 -700 1 -4.92983827188e-305 -4.92983827188e-305
            -9.85967654376e-305 -9.85967654376e-305 -9.85967654376e-305 -9.85967654376e-305
        -37.5 -37.5 1 -2.5877775029e-17 -2.5877775029e-17
            -5.1755550058e-17 -5.1755550058e-17 -5.1755550058e-17 -5.1755550058e-17
        -8.2 -8.20013732364 0.999862679501 -0.000137314212556 -0.000137301640125
            -0.000274653569972 -0.000274653569972 -0.000274653569972 -0.000274653569972
        -2 -2.06690460644 0.933858195905 -0.0646168975998 -0.0615698760719
            -0.135335283237 -0.135335283237 -0.135335283237 -0.135335283237
        0.4 -0.254842952199 0.433015504075 -0.400470146135 -0.102202550512
            -1.49182469764 -1.49182469764 -1.49182469764 -1.49182469764
        3 -1.89217869663e-09 3.80054251124e-08 -7.25353945708e-07 1.30804101989e-05
            -20.0855369232 -20.0855369232 -20.0855369232 -20.0855369232
        12 0 0 -0 0
            -162754.791419 -162754.791419 -162754.791419 -162754.791419
        700 0 0 -0 0
            -1.01423205474e+304 -1.01423205474e+304 -1.01423205474e+304 -1.01423205474e+304
    """,
    "cauchit": """
        -700 -7.69581090116 0.00142856948494 2.04080799669e-06 5.83085619108e-09
            -0.000454831519671 -6.49906217503e-07 -1.85729349571e-09 -7.96161834634e-12
        -37.5 -4.76930778285 0.0266540324775 0.000710100790963 3.78182137463e-05
            -0.00852246571926 -0.000228128807245 -1.22102666243e-05 -9.80081009505e-07
        -8.2 -3.25378974684 0.120757480001 0.0144390652562 0.00341833636188
            -0.0393933712073 -0.00485198481363 -0.00118961079156 -0.000435476823999
        -2 -1.9133603645 0.431362086458 0.159016419533 0.0935527273546
            -0.159680159856 -0.0746841315523 -0.0653250247476 -0.0799416968545
        0.4 -0.476232683036 0.441791508714 -0.499863536285 0.234821665219
            -0.97053295321 -0.724251234539 -0.0250562407046 0.885223709353
        3 -0.108048995661 0.0354629785932 -0.0225354100066 0.0207936681042
            -2.27870859529 -0.310799775272 0.0898833648541 -0.0477865237613
        12 -0.0268211693219 0.00225491622172 -0.000378312159728 9.49966050826e-05
            -3.63194441408 -0.0829498380947 0.00684895273436 -0.00112573523788
        700 -0.000454831519671 6.49906217503e-07 -1.85729349571e-09 7.96161834634e-12
            -7.69581090116 -0.00142856948494 2.04080799669e-06 -5.83085619108e-09
    """,
}


def slope(function, at, step):
    """Central differences of sixth order."""
    one, two, three = (function(at + k * step) - function(at - k * step) for k in (1, 2, 3))
    return (45.0 * one - 9.0 * two + three) / (60.0 * step)


def grid(name):
    if name == "log":
        return np.concatenate([np.linspace(-700, 690, 40), np.linspace(-5, 5, 41)])
    if name in PROBABILITIES:
        return np.linspace(-9, 2 if name == "cloglog" else 8, 66) + 0.013
    if name == "identity":
        return np.array([-700.0, -2.0, 0.0, 1e-3, 5.0, 700.0])
    return np.array([1e-3, 0.02, 0.4, 1.0, 3.0, 50.0, 700.0])


@pytest.mark.parametrize("name", LINKS)
def test_values_are_those_of_r(name):
    one = link(name)
    eta = np.abs(R_ETA) if name in POSITIVE else R_ETA
    np.testing.assert_allclose(np.concatenate([one.mu(eta), one.d1(eta)]), R_VALUES[name], rtol=1e-13)


@pytest.mark.parametrize("name", LINKS)
def test_link_and_its_inverse(name):
    one = link(name)
    eta = np.linspace(-3, 2, 31) + 0.01 if name not in POSITIVE else np.array([0.01, 0.3, 1.0, 8.0])
    assert one.valid_eta(eta).all()
    assert one.valid_mu(one.mu(eta)).all()
    np.testing.assert_allclose(one.eta(one.mu(eta)), eta, rtol=1e-11)


@pytest.mark.parametrize("name", LINKS)
def test_derivatives_of_mu(name):
    one, eta = link(name), grid(name)
    step = 2e-3 * (np.maximum(np.abs(eta), 1e-3) if name in (*POSITIVE, "identity") else 1.0)
    for function, derivative in ((one.mu, one.d1), (one.d1, one.d2), (one.d2, one.d3)):
        expected = slope(function, eta, step)
        size = np.abs(function(eta))
        error = np.abs(derivative(eta) - expected)
        np.testing.assert_array_less(error, 1e-9 * np.abs(expected) + 1e-11 * size / step + 1e-300)


@pytest.mark.parametrize("name", LINKS)
def test_derivatives_of_log_mu(name):
    one, eta = link(name), grid(name)
    if name == "identity":
        eta = eta[eta > 0]
    step = 2e-3 * (eta if name in (*POSITIVE, "identity") else 1.0)
    d1, d2, d3 = one.log_mu_derivatives(eta)
    np.testing.assert_allclose(one.log_mu(eta), np.log(one.mu(eta)), rtol=1e-12, atol=1e-12)
    for function, derivative in (
        (one.log_mu, d1),
        (lambda e: one.log_mu_derivatives(e).d1, d2),
        (lambda e: one.log_mu_derivatives(e).d2, d3),
    ):
        expected = slope(function, eta, step)
        size = np.abs(function(eta))
        error = np.abs(derivative - expected)
        np.testing.assert_array_less(error, 1e-9 * np.abs(expected) + 1e-11 * size / step + 1e-15)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_tails_to_the_last_digits(name):
    one, table = link(name), np.array(TAILS[name].split(), dtype=float).reshape(-1, 9)
    eta = table[:, 0]
    got = np.column_stack(
        [one.log_mu(eta), *one.log_mu_derivatives(eta), one.log_complement(eta), *one.log_complement_derivatives(eta)]
    )
    np.testing.assert_allclose(got, table[:, 1:], rtol=1e-10, atol=1e-290)
    np.testing.assert_allclose(one.complement(eta), np.exp(table[:, 5]), rtol=1e-8, atol=1e-290)


def test_log_link_of_a_probability():
    one, eta = link("log"), np.array([-700.0, -37.0, -2.0, -0.3, -1e-9])
    mu, rest = np.exp(eta), -np.expm1(eta)
    np.testing.assert_allclose(one.complement(eta), rest, rtol=1e-15)
    np.testing.assert_allclose(one.log_complement(eta), np.where(eta < -30, -mu, np.log(rest)), rtol=1e-14)
    d1, d2, d3 = one.log_complement_derivatives(eta)
    np.testing.assert_allclose(d1, -mu / rest, rtol=1e-13)
    np.testing.assert_allclose(d2, -mu / rest**2, rtol=1e-13)
    np.testing.assert_allclose(d3, -mu * (1 + mu) / rest**3, rtol=1e-13)


@pytest.mark.parametrize("name", LINKS)
def test_far_tails_are_finite_and_silent(name):
    one = link(name)
    eta = np.array([-700.0, -300.0, -40.0, 40.0, 300.0, 700.0])
    for function in (one.mu, one.d1, one.d2, one.d3):
        assert np.isfinite(function(eta[one.valid_eta(eta)])).all()


def test_defaults_of_a_user_link_agree_with_the_special_forms():
    class Plain(Link):
        name = "plain"
        mu_domain = (0.0, 1.0)
        eta, mu, d1, d2, d3 = (getattr(link("probit"), part) for part in ("eta", "mu", "d1", "d2", "d3"))

    plain, special, eta = Plain(), link("probit"), np.linspace(-2.5, 2.5, 11)
    for part in ("log_mu_derivatives", "log_complement_derivatives", "log_mu", "log_complement", "complement"):
        np.testing.assert_allclose(getattr(plain, part)(eta), getattr(special, part)(eta), rtol=1e-10)
    assert link(plain) is plain


def test_domains():
    assert link("inverse").valid_eta(np.array([-1.0, 0.0, 2.0])).tolist() == [True, False, True]
    assert link("sqrt").valid_eta(np.array([-1.0, 0.0, 2.0])).tolist() == [True, False, True]
    assert link("1/mu^2").valid_eta(np.array([-1.0, 0.0, 2.0])).tolist() == [False, False, True]
    assert link("logit").valid_mu(np.array([0.0, 0.5, 1.0])).tolist() == [False, True, False]


def test_names():
    assert link(" Logit ") is link("logit")
    assert pickle.loads(pickle.dumps(link("probit"))) == link("probit")
    with pytest.raises(ValueError, match=r"no link 'logitt'; did you mean 'logit'\? The links are 'logit', 'probit'"):
        link("logitt")
    with pytest.raises(ValueError, match=r"no link 'zzz'\. The links are"):
        link("zzz")
    with pytest.raises(TypeError, match="name or a Link object, not int"):
        link(3)
