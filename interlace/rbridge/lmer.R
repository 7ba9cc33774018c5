# Runs lme4::lmer as accurately as it can be run, and returns plain lists of vectors.
#
# One copy of this file serves both ways of asking R: rpy2 (interlace.rbridge) and Rscript (r_reference/).
# Every atomic vector in the result stays a vector, matrices become list(dim, values) with values column by column.

suppressPackageStartupMessages({
  library(lme4)
  library(splines)
})

# ---- search: several derivative-free optimizers, then Newton on numerical derivatives ------------------------------

# Length of one unit of each theta: row r of a term's factor multiplies column r of its model matrix, so theta times
# the root mean square of that column is free of the covariate's unit. Optimizers then see parameters near 1.
interlace_scales <- function(reTrms) {
  unlist(lapply(seq_along(reTrms$cnms), function(i) {
    k <- length(reTrms$cnms[[i]])
    n <- ncol(reTrms$Ztlist[[i]])
    squares <- Matrix::rowSums(reTrms$Ztlist[[i]]^2)
    rms <- sqrt(rowSums(matrix(squares, nrow = k)) / n)
    rms[rms == 0] <- 1
    rms[row(diag(k))[lower.tri(diag(k), diag = TRUE)]]
  }))
}

interlace_optimizers <- list(
  nloptr_bobyqa = function(fn, par, lower, budget) {
    nloptwrap(par = par, fn = fn, lower = lower, upper = rep(Inf, length(par)),
              control = list(algorithm = "NLOPT_LN_BOBYQA", xtol_abs = 1e-10, ftol_abs = 1e-13, xtol_rel = 0,
                             ftol_rel = 0, maxeval = budget))$par
  },
  minqa_bobyqa = function(fn, par, lower, budget) {
    if (length(par) == 1L) {
      return(par)  # minqa's bobyqa needs at least two parameters; the others handle one
    }
    minqa::bobyqa(par, fn, lower = lower, control = list(rhobeg = 0.2, rhoend = 1e-9, maxfun = budget))$par
  },
  Nelder_Mead = function(fn, par, lower, budget) {
    Nelder_Mead(fn, par, lower = lower, control = list(FtolAbs = 1e-12, FtolRel = 1e-15, XtolRel = 1e-11,
                                                       maxfun = budget, warnOnly = TRUE))$par
  }
)

# Gradient by the seven-point rule and Hessian by central differences, at 0 in the coordinates z of par + W z. Long
# steps suffer from curvature, short ones from rounding: each coordinate takes the step where halving matters least.
interlace_derivatives <- function(fn, par, W, steps = 0.16 / 2^(0:5), step = 0.03) {
  k <- ncol(W)
  along <- function(...) {
    z <- numeric(k)
    for (move in list(...)) z[move[1]] <- move[2]
    fn(par + drop(W %*% z))
  }
  slope <- function(a, h) {
    odd <- vapply(1:3, function(m) along(c(a, m * h)) - along(c(a, -m * h)), 0)
    sum(c(45, -9, 1) * odd) / (60 * h)
  }
  f0 <- fn(par)
  plus <- minus <- gradient <- numeric(k)
  hessian <- matrix(0, k, k)
  for (a in seq_len(k)) {
    slopes <- vapply(steps, function(h) slope(a, h), 0)
    gradient[a] <- slopes[which.min(abs(diff(slopes))) + 1L]
    plus[a] <- along(c(a, step))
    minus[a] <- along(c(a, -step))
    hessian[a, a] <- (plus[a] - 2 * f0 + minus[a]) / step^2
  }
  for (a in seq_len(k)) for (b in seq_len(a - 1L)) {
    both <- along(c(a, step), c(b, step)) + along(c(a, -step), c(b, -step))
    hessian[a, b] <- hessian[b, a] <- (both - plus[a] - minus[a] - plus[b] - minus[b] + 2 * f0) / (2 * step^2)
  }
  list(value = f0, gradient = gradient, hessian = hessian)
}

# Differences of the criterion below this are rounding.
interlace_noise <- function(value) 1e-13 * max(1, abs(value))

# The point after a step, halved until the criterion does not rise; NULL when it always does.
interlace_descend <- function(fn, par, step, value) {
  for (halving in 0:10) {
    trial <- par + step / 2^halving
    if (fn(trial) <= value + interlace_noise(value)) return(trial)
  }
  NULL
}

# Sets columns of factors to zero, first the whole, then the diagonal alone, where that does not raise the criterion.
interlace_zeros <- function(fn, par, lower, below = 1e-2) {
  column <- cumsum(lower == 0)  # a factor's column starts at its diagonal entry, the only one bounded at 0
  for (j in unique(column)) {
    for (entries in list(column == j, column == j & lower == 0)) {
      trial <- replace(par, entries, 0)
      if (max(abs(par[entries])) < below && fn(trial) <= fn(par) + interlace_noise(fn(par))) par <- trial
    }
  }
  par
}

# Newton steps until they stop mattering. A deviance agrees to 1e-9 long before theta does, so the stopping rule is
# the step. Coordinates are rotated and stretched by the last Hessian: one unit of each is one standard error (0.3
# units of theta at most), so that the differences are good in valleys of any shape. Directions without curvature (a
# singular covariance has them) are left alone, and so are columns that are zero: the criterion is even in a column,
# hence stationary there.
interlace_polish <- function(fn, par, lower, rounds = 12L) {
  column <- cumsum(lower == 0)
  par <- interlace_zeros(fn, par, lower)
  free <- !(tapply(par != 0, column, sum) == 0)[column]
  W <- diag(0.1 * pmax(abs(par), 0.1), length(par))[, free, drop = FALSE]
  report <- list(gradient = 0, eigenvalues = numeric(), uncertainty = 0)
  for (round in seq_len(rounds)) {
    if (!any(free)) break
    d <- interlace_derivatives(fn, par, W)
    e <- eigen(d$hessian, symmetric = TRUE)
    curved <- e$values > 1e-6
    if (!any(curved)) break
    V <- e$vectors[, curved, drop = FALSE]
    step <- -drop(V %*% (crossprod(V, d$gradient) / e$values[curved]))
    back <- solve(W[free, , drop = FALSE])
    report <- list(gradient = max(abs(crossprod(back, d$gradient))), uncertainty = max(abs(W %*% step)),
                   eigenvalues = eigen(t(back) %*% d$hessian %*% back, symmetric = TRUE)$values)
    trial <- interlace_descend(fn, par, drop(W %*% step), d$value)
    if (!is.null(trial)) par <- trial
    if (round > 2 && (is.null(trial) || max(abs(step)) < 1e-8)) break
    W <- W %*% e$vectors
    W <- W %*% diag(pmin(1 / sqrt(pmax(e$values, 1e-8)), 0.3 / sqrt(colSums(W^2))), ncol(W))
  }
  par <- interlace_zeros(fn, par, lower)
  flip <- par[lower == 0] < 0
  par <- par * ifelse(flip[column], -1, 1)
  c(list(par = par), report)
}

# Best of all optimizers, restarted where it stopped and away from zero variances, then polished.
interlace_search <- function(scales, budget, record) {
  function(fn, par, lower, upper, control) {
    scaled <- function(phi) fn(phi / scales)
    best <- list(par = par * scales, value = fn(par))
    tried <- list()
    try_from <- function(name, start) {
      found <- tryCatch(suppressWarnings(interlace_optimizers[[name]](scaled, start, lower, budget)),
                        error = function(e) NULL)
      if (is.null(found) || anyNA(found)) return(NULL)
      value <- scaled(found)
      tried[[length(tried) + 1L]] <<- list(name = name, value = value)
      if (is.finite(value) && value < best$value) best <<- list(par = found, value = value)
    }
    for (name in names(interlace_optimizers)) try_from(name, as.numeric(lower == 0))
    if (any(scales != 1)) try_from("nloptr_bobyqa", par * scales)
    for (name in c("nloptr_bobyqa", "minqa_bobyqa")) {
      away <- ifelse(lower == 0 & best$par < 1e-3, 0.1, best$par)
      try_from(name, away)
    }
    polished <- interlace_polish(scaled, best$par, lower)
    value <- scaled(polished$par)
    if (value <= best$value + interlace_noise(best$value)) {
      best <- list(par = polished$par, value = value)
    }
    record$tried <- tried
    record$gradient <- polished$gradient
    record$eigenvalues <- polished$eigenvalues
    record$uncertainty <- polished$uncertainty
    list(par = best$par / scales, fval = best$value, conv = 0, message = "", feval = 0L)
  }
}

# ---- what comes back --------------------------------------------------------------------------------------------

interlace_matrix <- function(x) list(dim = dim(x), values = as.vector(as.matrix(x)))

interlace_named <- function(x) list(names = names(x), values = unname(x))

# Evenly spaced positions, both ends in.
interlace_thin <- function(n, keep) {
  if (is.null(keep) || keep >= n) seq_len(n) else unique(round(seq(1, n, length.out = keep)))
}

interlace_terms <- function(m, scales, keep_levels) {
  keys <- make.unique(names(m@cnms))
  sizes <- lengths(m@cnms)
  last_theta <- cumsum(sizes * (sizes + 1) / 2)
  flist <- getME(m, "flist")
  assign <- attr(flist, "assign")
  b <- as.vector(getME(m, "b"))
  Gp <- getME(m, "Gp")
  covariances <- VarCorr(m)
  variances <- lapply(ranef(m, condVar = TRUE, drop = FALSE), attr, "postVar")
  lapply(seq_along(keys), function(i) {
    k <- sizes[[i]]
    levels <- levels(flist[[assign[i]]])
    kept <- interlace_thin(length(levels), keep_levels)
    modes <- t(matrix(b[(Gp[i] + 1):Gp[i + 1]], nrow = k))
    post <- variances[[names(m@cnms)[i]]]
    if (is.list(post)) post <- post[[sum(assign[seq_len(i)] == assign[i])]]
    positions <- seq(last_theta[i] - k * (k + 1) / 2 + 1, last_theta[i])
    diagonal <- positions[cumsum(c(1, rev(seq_len(k))[-k]))]
    list(
      key = keys[i], group = names(m@cnms)[i], names = m@cnms[[i]], n_levels = length(levels),
      theta = getME(m, "theta")[positions], z_scale = scales[diagonal],
      covariance = interlace_matrix(unclass(covariances[[i]])[seq_len(k), seq_len(k), drop = FALSE]),
      sd = unname(attr(covariances[[i]], "stddev")),
      correlation = interlace_matrix(unname(attr(covariances[[i]], "correlation"))),
      levels = levels[kept], modes = interlace_matrix(modes[kept, , drop = FALSE]),
      conditional = lapply(kept, function(j) interlace_matrix(matrix(post[, , j], k, k)))
    )
  })
}

interlace_predictions <- function(m, newdata) {
  lapply(newdata, function(frame) list(
    with = unname(predict(m, newdata = frame, re.form = NULL, allow.new.levels = TRUE)),
    without = unname(predict(m, newdata = frame, re.form = NA))
  ))
}

interlace_versions <- function() {
  info <- utils::sessionInfo()
  list(R = paste(R.version$major, R.version$minor, sep = "."), lme4 = as.character(packageVersion("lme4")),
       Matrix = as.character(packageVersion("Matrix")), nloptr = as.character(packageVersion("nloptr")),
       minqa = as.character(packageVersion("minqa")), BLAS = as.character(info$BLAS),
       LAPACK = as.character(La_version()), platform = R.version$platform,
       collate = Sys.getlocale("LC_COLLATE"))
}

interlace_record <- function(m, search, scales, newdata, keep_rows, keep_levels) {
  ll <- logLik(m)
  rows <- as.integer(names(fitted(m)))
  kept <- interlace_thin(length(rows), keep_rows)
  dropped <- attr(getME(m, "X"), "col.dropped")
  list(
    beta = interlace_named(fixef(m)), vcov = interlace_matrix(vcov(m)),
    dropped = if (is.null(dropped)) character() else names(dropped),
    sigma = sigma(m), terms = interlace_terms(m, scales, keep_levels),
    rows = rows[kept], fitted = unname(fitted(m))[kept], residuals = unname(residuals(m))[kept],
    log_likelihood = as.numeric(ll), n_parameters = attr(ll, "df"), aic = AIC(m), bic = BIC(m),
    criterion = -2 * as.numeric(ll), reml = isREML(m), df_residual = df.residual(m), n_rows = nobs(m),
    singular = isSingular(m), predictions = interlace_predictions(m, newdata),
    optimizers = search$tried, gradient = search$gradient, eigenvalues = search$eigenvalues,
    uncertainty = search$uncertainty
  )
}

# ---- entry ------------------------------------------------------------------------------------------------------

# formula, data: as in lmer; weights, offset: names of columns of `data`; contrasts: list(x = "contr.sum");
# newdata: named list of data frames to predict. Ordered factors get treatment contrasts, as everywhere in interlace.
interlace_lmer <- function(formula, data, reml = TRUE, weights = NULL, offset = NULL, contrasts = NULL,
                           newdata = list(), keep_rows = NULL, keep_levels = NULL, time_default = FALSE) {
  saved <- options(contrasts = c("contr.treatment", "contr.treatment"), na.action = "na.omit")
  locale <- Sys.getlocale("LC_COLLATE")
  Sys.setlocale("LC_COLLATE", "C")
  on.exit({
    options(saved)
    Sys.setlocale("LC_COLLATE", locale)
  })
  rownames(data) <- NULL
  if (!is.null(offset)) formula <- paste0(formula, " + offset(", offset, ")")
  model <- as.formula(formula, env = globalenv())
  quick <- lmerControl(calc.derivs = FALSE, check.conv.singular = "ignore")
  call <- list(formula = model, data = quote(data), contrasts = contrasts, control = quick)
  if (!is.null(weights)) call$weights <- as.name(weights)
  parsed <- suppressMessages(suppressWarnings(eval(as.call(c(as.name("lFormula"), call, list(REML = reml))))))
  scales <- interlace_scales(parsed$reTrms)
  search <- new.env()
  budget <- 3000L + 400L * length(scales)
  call$control <- lmerControl(optimizer = interlace_search(scales, budget, search), calc.derivs = FALSE)
  said <- character()
  note <- function(kind, restart) function(c) {
    said <<- c(said, paste0(kind, ": ", trimws(conditionMessage(c))))
    invokeRestart(restart)
  }
  fitting <- as.call(c(as.name("lmer"), call, list(REML = reml)))
  m <- withCallingHandlers(eval(fitting), warning = note("warning", "muffleWarning"),
                           message = note("message", "muffleMessage"))
  out <- suppressWarnings(interlace_record(m, search, scales, newdata, keep_rows, keep_levels))
  out$messages <- said
  out$versions <- interlace_versions()
  if (time_default) {
    call$control <- lmerControl()
    plain <- as.call(c(as.name("lmer"), call, list(REML = reml)))
    out$seconds <- unname(system.time(suppressMessages(suppressWarnings(eval(plain))))["elapsed"])
  }
  out
}
