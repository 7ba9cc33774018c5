# Runs lme4::glmer as accurately as it can be run. Sourced after lmer.R, whose search and records it uses.
#
# The deviance of a generalized model is itself the end of an iteration (PIRLS), and lme4 takes log|L| from the weights
# of the iteration before the last. At its default tolPwrss = 1e-7 the deviance of grouseticks has noise of 4e-4 and a
# bias of 1e-2; at 1e-13 the bias is still 1e-6. Below 1e-14 rounding stops PIRLS with an error. So PIRLS runs at 1e-13,
# and again from where it stopped until the value does not change: noise is then below 1e-12 (2e-11 with 7584 rows),
# and the seven-point rule of lmer.R gives gradients to 1e-10.

# ---- deviance --------------------------------------------------------------------------------------------------

interlace_family <- function(family, link, nb_theta) {
  make <- if (family == "negative.binomial") MASS::negative.binomial else get(family, mode = "function")
  given <- c(list(), if (family == "negative.binomial") list(theta = nb_theta), if (!is.null(link)) list(link = link))
  do.call(make, given)
}

# The deviance with the modes carried to rounding error. Where that stops PIRLS (a negative binomial that is nearly
# Poisson loses digits), with a wider tolerance; very large where PIRLS fails with that too.
interlace_settled <- function(devfun, passes = 40L) {
  rho <- environment(devfun)
  pirls <- if (is.null(rho$GQmat)) GHrule(0L) else rho$GQmat
  again <- function() rho$pwrssUpdate(rho$pp, rho$resp, rho$tolPwrss, pirls, rho$compDev, rho$fac, 100L, 0L)
  tight <- rho$tolPwrss
  wide <- function(par) {
    rho$tolPwrss <- 1e-9
    on.exit(rho$tolPwrss <- tight)
    tryCatch(devfun(par), error = function(e) NaN)
  }
  function(par) {
    value <- tryCatch(devfun(par), error = function(e) wide(par))
    for (pass in seq_len(passes)) {
      if (!is.finite(value)) return(1e12)
      settled <- tryCatch(again(), error = function(e) value)
      close <- abs(settled - value) <= 2e-15 * abs(value)
      value <- settled
      if (close) break
    }
    rho$resp$updateWts()
    value
  }
}

# The negative binomial's theta from its logarithm. Beyond the ends its log density is rounding, and the response is
# Poisson for all that can be seen.
interlace_nb_theta <- function(log_theta) exp(min(max(log_theta, -14), 14))

# The criterion of all free parameters: theta, then beta, then (negative binomial, estimated) the logarithm of its
# theta; with an nAGQ of 0, theta alone. Above 1, lme4 1.1's value lacks the saturated model, which is put back; and it
# takes a family's aic() for -2 log-likelihood, which is 2 too much where there is a dispersion.
interlace_criterion <- function(devfun, nAGQ, with_nb) {
  rho <- environment(devfun)
  settled <- interlace_settled(devfun)
  counted <- c("Gamma", "inverse.gaussian", "gaussian")
  constant <- if (rho$resp$family$family %in% counted) -2 else 0
  if (nAGQ > 1L) constant <- constant + rho$resp$aic() - rho$resp$resDev()
  list(constant = constant, fn = function(par) {
    if (with_nb) {
      last <- length(par)
      rho$resp$setTheta(interlace_nb_theta(par[last]))
      par <- par[-last]
    }
    settled(par) + constant
  })
}

# ---- search ----------------------------------------------------------------------------------------------------

# Step of differences in the coordinates of W. The criterion is even in a diagonal of a factor, with a feature as wide as
# its value where that is small: a step of 0.03 then gave a theta of 0.011364 for 0.011369, and one of 0.1 was 1e-4 off
# in a variance. So no step moves a diagonal that is not zero by more than a third of it.
interlace_reach <- function(par, W, lower, longest = 0.03) {
  diagonal <- which(lower == 0 & par != 0)
  if (!length(diagonal)) return(longest)
  moved <- apply(abs(W[diagonal, , drop = FALSE]), 1, max)
  max(0.002, min(longest, 0.3 * abs(par[diagonal]) / moved))
}

# Hessian at 0 in the coordinates z of par + W z: seven-point second derivatives along axes and diagonals.
interlace_hessian <- function(fn, par, W, step) {
  k <- ncol(W)
  f0 <- fn(par)
  bend <- function(direction) {
    even <- vapply(1:3, function(m) fn(par + m * step * direction) + fn(par - m * step * direction), 0)
    (sum(c(270, -27, 2) * even) - 490 * f0) / (180 * step^2)
  }
  hessian <- diag(vapply(seq_len(k), function(a) bend(W[, a]), 0), k)
  for (a in seq_len(k)) for (b in seq_len(a - 1L)) {
    apart <- bend((W[, a] + W[, b]) / sqrt(2)) - bend((W[, a] - W[, b]) / sqrt(2))
    hessian[a, b] <- hessian[b, a] <- apart / 2
  }
  hessian
}

# Orthogonal axes in which the criterion has curvature 1, at most `longest` units of the parameters long; directions
# without curvature keep that length. Rows of W that are not free stay zero.
interlace_axes <- function(W, free, hessian, longest = 3) {
  back <- solve(W[free, , drop = FALSE])
  e <- eigen(t(back) %*% hessian %*% back, symmetric = TRUE)
  W[free, ] <- e$vectors %*% diag(pmin(1 / sqrt(pmax(e$values, 1e-8)), longest), ncol(W))
  W
}

# One Newton step in the coordinates W; NULL when there is nothing to gain.
interlace_step <- function(d) {
  e <- eigen(d$hessian, symmetric = TRUE)
  curved <- e$values > 1e-6
  if (!any(curved)) return(NULL)
  V <- e$vectors[, curved, drop = FALSE]
  -drop(V %*% (crossprod(V, d$gradient) / e$values[curved]))
}

# Zero columns of factors are tried, then Newton steps in all parameters until they stop mattering, and the Hessian in
# the end. `lower` is 0 for diagonals of factors, -Inf for their other entries and for everything after theta.
interlace_newton <- function(fn, par, lower, n_theta, rounds = 10L) {
  theta <- seq_len(n_theta)
  column <- cumsum(lower[theta] == 0)
  zeros <- function(par) {
    slice <- function(values) fn(replace(par, theta, values))
    replace(par, theta, interlace_zeros(slice, par[theta], lower[theta]))
  }
  par <- zeros(par)
  free <- rep(TRUE, length(par))
  free[theta] <- !(tapply(par[theta] != 0, column, sum) == 0)[column]
  size <- rep(0.3, length(par))
  size[theta] <- 0.1 * pmax(abs(par[theta]), 0.1)
  W <- diag(size, length(par))[, free, drop = FALSE]
  report <- list(gradient = 0, uncertainty = 0)
  for (round in seq_len(rounds)) {
    d <- interlace_derivatives(fn, par, W, steps = c(2, 1) * interlace_reach(par, W, lower))
    step <- interlace_step(d)
    if (is.null(step)) break
    slopes <- solve(t(W[free, , drop = FALSE]), d$gradient)
    report <- list(gradient = max(abs(slopes)), uncertainty = max(abs(W %*% step)))
    trial <- interlace_descend(fn, par, drop(W %*% step), d$value)
    if (!is.null(trial)) par <- trial
    if (round > 1 && (is.null(trial) || max(abs(step)) < 1e-7)) break
    W <- interlace_axes(W, free, d$hessian)
  }
  par <- zeros(par)
  flip <- par[theta][lower[theta] == 0] < 0
  par[theta] <- par[theta] * ifelse(flip[column], -1, 1)
  W[theta, ] <- W[theta, ] * ifelse(flip[column], -1, 1)
  c(list(par = par, free = free, W = W), report)
}

# Two optimizers on all parameters at once, from two starts, then Newton. `unit`: one unit of each parameter;
# `centre`: where betas are counted from, so that steps are standard errors whatever the covariates' units and zeros.
interlace_joint_search <- function(fn, start, unit, centre, lower, n_theta, budget, record) {
  original <- function(phi) centre + phi * unit
  scaled <- function(phi) fn(original(phi))
  phi <- (start - centre) / unit
  best <- list(par = phi, value = scaled(phi))
  tried <- list()
  for (name in c("nloptr_bobyqa", "minqa_bobyqa")) {
    from <- if (name == "minqa_bobyqa") replace(phi, lower == 0, pmax(phi[lower == 0], 0.3)) else best$par
    found <- tryCatch(suppressWarnings(interlace_optimizers[[name]](scaled, from, lower, budget)),
                      error = function(e) NULL)
    if (is.null(found) || anyNA(found)) next
    value <- scaled(found)
    tried[[length(tried) + 1L]] <- list(name = name, value = value)
    if (is.finite(value) && value < best$value) best <- list(par = found, value = value)
  }
  polished <- interlace_newton(scaled, best$par, lower, n_theta)
  at <- if (scaled(polished$par) <= best$value + 1e-11 * abs(best$value)) polished$par else best$par
  hessian <- interlace_hessian(scaled, at, polished$W, interlace_reach(at, polished$W, lower))
  record$tried <- tried
  record$gradient <- polished$gradient
  record$uncertainty <- polished$uncertainty
  list(par = original(at), fval = scaled(at), W = polished$W * unit, scaled_W = polished$W, hessian = hessian,
       free = polished$free)
}

# Inverse of a Hessian where it is positive, 0 in directions without curvature; the same in all units of parameters.
interlace_pseudo_inverse <- function(H) {
  size <- sqrt(ifelse(diag(H) > 0, diag(H), 1))
  e <- eigen(H / outer(size, size), symmetric = TRUE)
  curved <- e$values > 1e-9
  V <- e$vectors[, curved, drop = FALSE] / size
  V %*% (t(V) / e$values[curved])
}

# Covariance of the parameters in `keep`, at fixed values of all others in `fixed`: twice the inverse Hessian.
interlace_inverse <- function(found, keep, fixed = integer()) {
  in_original <- solve(found$W[found$free, , drop = FALSE])
  H <- matrix(0, length(found$free), length(found$free))
  H[found$free, found$free] <- t(in_original) %*% found$hessian %*% in_original
  use <- setdiff(which(found$free), fixed)
  full <- matrix(0, length(found$free), length(found$free))
  full[use, use] <- 2 * interlace_pseudo_inverse(H[use, use, drop = FALSE])
  full[keep, keep, drop = FALSE]
}

# Curvature of the criterion in theta with everything else at its best, theta in units free of the covariates'.
interlace_curvature <- function(found, n_theta) {
  back <- solve(found$scaled_W[found$free, , drop = FALSE])
  H <- t(back) %*% found$hessian %*% back
  theta <- which(found$free) <= n_theta
  if (!any(theta)) return(numeric())
  inner <- H[theta, theta, drop = FALSE]
  if (!all(theta)) {
    cross <- H[theta, !theta, drop = FALSE]
    inner <- inner - cross %*% interlace_pseudo_inverse(H[!theta, !theta, drop = FALSE]) %*% t(cross)
  }
  eigen(inner, symmetric = TRUE)$values
}

# ---- fit ---------------------------------------------------------------------------------------------------------

# theta with beta inside PIRLS (an nAGQ of 0), by all of lmer.R's search.
interlace_first_stage <- function(parsed, control, scales, record) {
  devfun <- mkGlmerDevfun(parsed$fr, parsed$X, parsed$reTrms, family = parsed$family, control = control)
  criterion <- interlace_criterion(devfun, 0L, FALSE)
  lower <- environment(devfun)$lower
  search <- interlace_search(scales, 300L + 100L * length(scales), record)
  opt <- search(criterion$fn, parsed$reTrms$theta, lower, NULL, NULL)
  opt$fval <- criterion$fn(opt$par)
  list(devfun = devfun, opt = opt, constant = criterion$constant)
}

# Everything that is fitted for one family object; with_nb: its theta is only where the search starts. The covariance
# of the coefficients is then lme4's, which takes the theta for known; vcov_joint counts its uncertainty in.
interlace_fit_glmer <- function(parsed, control, nAGQ, with_nb, record) {
  scales <- interlace_scales(parsed$reTrms)
  first <- interlace_first_stage(parsed, control, scales, record)
  rho <- environment(first$devfun)
  n_theta <- length(first$opt$par)
  out <- list(opt = first$opt, rho = rho, constant = first$constant, scales = scales)
  if (nAGQ == 0L) {
    out$beta <- rho$pp$beta(1)
    out$vcov <- rho$pp$unsc()
    return(out)
  }
  beta <- rho$pp$beta(1)
  se <- sqrt(diag(rho$pp$unsc()))
  nb <- if (with_nb) log(rho$resp$theta())
  devfun <- updateGlmerDevfun(first$devfun, parsed$reTrms, nAGQ = nAGQ)
  criterion <- interlace_criterion(devfun, nAGQ, with_nb)
  start <- c(first$opt$par, beta, nb)
  n_par <- length(start)
  lower <- c(environment(first$devfun)$lower[seq_len(n_theta)], rep(-Inf, n_par - n_theta))
  found <- interlace_joint_search(
    criterion$fn, start, unit = c(1 / scales, se, if (with_nb) 0.3), centre = c(numeric(n_theta), beta, nb),
    lower = lower, n_theta = n_theta, budget = 400L + 150L * n_par, record = record
  )
  record$eigenvalues <- interlace_curvature(found, n_theta)
  out$rho <- environment(devfun)
  out$beta <- found$par[n_theta + seq_along(beta)]
  out$vcov <- interlace_inverse(found, n_theta + seq_along(beta), if (with_nb) n_par)
  out$opt <- list(par = found$par[seq_len(n_theta + length(beta))], fval = found$fval, conv = 0L, message = "")
  out$constant <- criterion$constant
  if (with_nb) {
    out$nb_theta <- interlace_nb_theta(found$par[n_par])
    out$vcov_joint <- interlace_inverse(found, n_theta + seq_along(beta))
  }
  out
}

# Negative binomial with its theta estimated: start from moments of a Poisson fit, search all parameters together, and
# evaluate once more with the family that holds the estimate.
interlace_fit_nb <- function(parse, control, nAGQ, link, record) {
  poisson <- parse(interlace_family("poisson", link, NULL))
  first <- interlace_first_stage(poisson, control, interlace_scales(poisson$reTrms), new.env())
  resp <- environment(first$devfun)$resp
  start <- tryCatch(suppressWarnings(as.numeric(MASS::theta.ml(resp$y, resp$mu))), error = function(e) 5)
  start <- min(max(start, 0.1), 50)
  parsed <- parse(interlace_family("negative.binomial", link, start))
  fit <- interlace_fit_glmer(parsed, control, nAGQ, TRUE, record)
  fixed <- parse(interlace_family("negative.binomial", link, fit$nb_theta))
  devfun <- mkGlmerDevfun(fixed$fr, fixed$X, fixed$reTrms, family = fixed$family, control = control)
  devfun <- updateGlmerDevfun(devfun, fixed$reTrms, nAGQ = nAGQ)
  fit$opt$fval <- interlace_criterion(devfun, nAGQ, FALSE)$fn(fit$opt$par)
  fit$rho <- environment(devfun)
  list(fit = fit, parsed = fixed)
}

# ---- what comes back -------------------------------------------------------------------------------------------

# Stops where lme4's likelihood is not the one of the family. Its compiled negative binomial takes prior weights into
# account otherwise than MASS's aic() and dnbinom() do, so that its estimates then are not those of the model.
interlace_require_likelihood <- function(m) {
  if (!grepl("^Negative Binomial", family(m)$family)) return(invisible())
  resp <- m@resp
  right <- family(m)$aic(resp$y, 1, resp$mu, resp$weights, NA)
  if (abs(resp$aic() - right) > 1e-6 * abs(right)) {
    stop(sprintf("lme4's negative binomial likelihood is wrong with prior weights: %.6g, by its density %.6g",
                 resp$aic(), right))
  }
}

interlace_glmer_record <- function(m, fit, search, newdata, keep_rows, keep_levels) {
  out <- interlace_record(m, search, fit$scales, newdata, keep_rows, keep_levels)
  kept <- interlace_thin(nobs(m), keep_rows)
  inverse <- family(m)$linkinv
  kinds <- c("response", "pearson", "deviance", "working")
  out$family <- family(m)$family
  out$link <- family(m)$link
  out$nAGQ <- m@devcomp$dims[["nAGQ"]]
  out$vcov <- interlace_matrix(fit$vcov)
  out$criterion <- fit$opt$fval
  out$log_likelihood <- -fit$opt$fval / 2
  out$aic <- fit$opt$fval + 2 * out$n_parameters
  out$bic <- fit$opt$fval + log(out$n_rows) * out$n_parameters
  out$constant <- fit$constant
  out$deviance <- deviance(m)
  out$eta <- unname(predict(m, type = "link"))[kept]
  out$residuals_by_type <- sapply(kinds, function(kind) unname(residuals(m, type = kind))[kept], simplify = FALSE)
  out$residuals <- out$residuals_by_type$response
  out$predictions <- lapply(out$predictions, function(p) list(
    with = inverse(p$with), without = inverse(p$without), with_link = p$with, without_link = p$without
  ))
  out$nb_theta <- fit$nb_theta
  out$vcov_joint <- if (!is.null(fit$vcov_joint)) interlace_matrix(fit$vcov_joint)
  out
}

# A plain call, with nothing but what the model needs: its time, -2 log-likelihood and messages.
interlace_plain_glmer <- function(model, data, family, nAGQ, more, constant) {
  said <- character()
  note <- function(restart) function(c) {
    said <<- c(said, trimws(conditionMessage(c)))
    invokeRestart(restart)
  }
  fitter <- as.name(if (is.null(family)) "glmer.nb" else "glmer")
  call <- c(fitter, list(formula = model, data = quote(data), nAGQ = nAGQ),
            if (!is.null(family)) list(family = family), more)
  taken <- system.time(m <- tryCatch(withCallingHandlers(
    eval(as.call(call)), warning = note("muffleWarning"), message = note("muffleMessage")
  ), error = function(e) {
    said <<- c(said, trimws(conditionMessage(e)))
    NULL
  }))
  value <- if (is.null(m)) NA_real_ else -2 * as.numeric(logLik(m)) + constant
  list(seconds = unname(taken["elapsed"]), criterion = value, messages = said)
}

# ---- entry -----------------------------------------------------------------------------------------------------

# family: a name of R's, or "negative.binomial" (nb_theta: its theta; estimated if NULL); link: a name, NULL for the
# default; the others as in interlace_lmer.
interlace_glmer <- function(formula, data, family, link = NULL, nAGQ = 1L, nb_theta = NULL, weights = NULL,
                            offset = NULL, contrasts = NULL, newdata = list(), keep_rows = NULL, keep_levels = NULL,
                            time_default = FALSE) {
  saved <- options(contrasts = c("contr.treatment", "contr.treatment"), na.action = "na.omit")
  locale <- Sys.getlocale("LC_COLLATE")
  Sys.setlocale("LC_COLLATE", "C")
  on.exit({
    options(saved)
    Sys.setlocale("LC_COLLATE", locale)
  })
  rownames(data) <- NULL
  nAGQ <- as.integer(nAGQ)
  if (!is.null(offset)) formula <- paste0(formula, " + offset(", offset, ")")
  model <- as.formula(formula, env = globalenv())
  control <- glmerControl(tolPwrss = 1e-13)
  more <- c(if (!is.null(contrasts)) list(contrasts = contrasts),
            if (!is.null(weights)) list(weights = as.name(weights)))
  parse <- function(family) eval(as.call(c(as.name("glFormula"), list(
    formula = model, data = quote(data), family = family, control = control), more)))
  said <- character()
  note <- function(kind, restart) function(c) {
    said <<- c(said, paste0(kind, ": ", trimws(conditionMessage(c))))
    invokeRestart(restart)
  }
  search <- new.env()
  estimated <- family == "negative.binomial" && is.null(nb_theta)
  both <- withCallingHandlers(
    if (estimated) interlace_fit_nb(parse, control, nAGQ, link, search) else {
      parsed <- parse(interlace_family(family, link, nb_theta))
      list(parsed = parsed, fit = interlace_fit_glmer(parsed, control, nAGQ, FALSE, search))
    }, warning = note("warning", "muffleWarning"), message = note("message", "muffleMessage")
  )
  both$fit$rho$nAGQ <- nAGQ
  call <- as.call(c(as.name("glmer"), list(formula = model, data = quote(data), family = both$parsed$family), more))
  m <- mkMerMod(both$fit$rho, both$fit$opt, both$parsed$reTrms, both$parsed$fr, call)
  interlace_require_likelihood(m)
  out <- suppressWarnings(interlace_glmer_record(m, both$fit, search, newdata, keep_rows, keep_levels))
  out$messages <- said
  out$versions <- interlace_versions()
  if (time_default) {
    plain <- interlace_plain_glmer(model, data, if (!estimated) both$parsed$family, nAGQ, more, both$fit$constant)
    out$seconds <- plain$seconds
    out$plain <- plain
  }
  out
}
