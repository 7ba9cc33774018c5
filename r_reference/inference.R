# Inference about linear and generalized mixed models by R's packages, as plain lists of vectors.
#
#   Rscript r_reference/inference.R JOBS_FOLDER
#
# As a script it carries out the jobs that `python -m parity record-inference` writes. The parity tests source it into
# a running R too, after interlace/rbridge/lmer.R and glmer.R, whose searches find the optimum that everything here
# starts from: lme4's own stopping rule would leave 1e-5 of theta in every number.
#
# lmerTest is loaded and not attached: attached, it would put its own lmer() before lme4's.

# ---- fits ---------------------------------------------------------------------------------------------------------

inference_options <- function(expr) {
  saved <- options(contrasts = c("contr.treatment", "contr.treatment"), na.action = "na.omit")
  locale <- Sys.getlocale("LC_COLLATE")
  Sys.setlocale("LC_COLLATE", "C")
  on.exit({
    options(saved)
    Sys.setlocale("LC_COLLATE", locale)
    suppressWarnings(rm("interlace_data", envir = globalenv()))
  })
  suppressMessages(suppressWarnings(expr))
}

# The data stand in the global environment: lmerTest, emmeans and lme4 evaluate calls again, each in another place.
inference_call <- function(formula, data, weights, offset, contrasts) {
  rownames(data) <- NULL
  assign("interlace_data", data, envir = globalenv())
  if (!is.null(offset)) formula <- paste0(formula, " + offset(", offset, ")")
  call <- list(formula = as.formula(formula, env = globalenv()), data = quote(interlace_data))
  if (length(contrasts)) call$contrasts <- contrasts
  if (!is.null(weights)) call$weights <- as.name(weights)
  call
}

inference_tight <- list(xtol_abs = 1e-11, ftol_abs = 1e-13, xtol_rel = 0, ftol_rel = 0, maxeval = 20000L)

# A model at the optimum, and its parts: what lFormula gives.
inference_lmer <- function(given, reml) {
  quick <- lmerControl(calc.derivs = FALSE, check.conv.singular = "ignore")
  run <- function(f, control) {
    eval(as.call(c(list(as.name(f)), given, list(REML = reml, control = control))), globalenv())
  }
  parsed <- run("lFormula", quick)
  scales <- interlace_scales(parsed$reTrms)
  search <- interlace_search(scales, 3000L + 400L * length(scales), new.env())
  list(m = run("lmer", lmerControl(optimizer = search, calc.derivs = FALSE)), parsed = parsed,
       plain = function() run("lmer", lmerControl("nloptwrap", optCtrl = inference_tight, calc.derivs = FALSE)))
}

# ---- tests of fixed effects --------------------------------------------------------------------------------------

inference_coefficients <- function(m, ddf) {
  table <- summary(m, ddf = ddf)$coefficients
  list(names = rownames(table), estimate = table[, 1], se = table[, 2], df = table[, "df"], p = table[, "Pr(>|t|)"])
}

inference_anova <- function(m, type, ddf) {
  table <- anova(m, type = type, ddf = ddf)
  list(terms = rownames(table), sum_sq = table[["Sum Sq"]], num_df = table[["NumDF"]], den_df = table[["DenDF"]],
       f = table[["F value"]], p = table[["Pr(>F)"]])
}

inference_tests <- function(m, ddf) {
  has_terms <- length(attr(terms(m), "term.labels")) > 0L
  types <- c(I = 1, II = 2, III = 3)
  list(coefficients = inference_coefficients(m, ddf),
       anova = if (has_terms) lapply(as.list(types), function(type) inference_anova(m, type, ddf)))
}

inference_ranova <- function(m) {
  table <- lmerTest::ranova(m)
  list(rows = rownames(table), npar = table$npar, log_likelihood = table$logLik, lrt = table$LRT, df = table$Df,
       p = table[["Pr(>Chisq)"]])
}

# Means of one factor's levels, averaged over the other factors, and all differences between two of them.
inference_means <- function(m, factor, ddf) {
  columns <- function(grid) {
    table <- as.data.frame(grid)
    list(rows = as.character(table[[1]]), estimate = table[[if ("emmean" %in% names(table)) "emmean" else "estimate"]],
         se = table$SE, df = table$df, p = table$p.value)
  }
  means <- emmeans::emmeans(m, factor, lmer.df = ddf)
  list(factor = factor, means = columns(means), pairs = columns(pairs(means)))
}

inference_effect_sizes <- function(m) {
  r2 <- performance::r2_nakagawa(m)
  icc <- performance::icc(m)
  number <- function(x) if (is.null(x) || !is.numeric(x)) NA_real_ else as.numeric(x)[1]
  list(conditional = number(r2$R2_conditional), marginal = number(r2$R2_marginal),
       adjusted = number(icc$ICC_adjusted), unadjusted = number(icc$ICC_unadjusted))
}

# ---- intervals ----------------------------------------------------------------------------------------------------

inference_intervals <- function(table) list(names = rownames(table), lower = table[, 1], upper = table[, 2])

# The lowest of what quasi-Newton steps and then a derivative-free search reach from several starts.
inference_minimum <- function(fn, starts, lower, upper) {
  best <- NULL
  for (start in unique(starts)) {
    fit <- nlminb(start, fn, lower = lower, upper = upper,
                  control = list(rel.tol = 1e-13, x.tol = 1e-10, eval.max = 500, iter.max = 200))
    found <- list(value = fit$objective, par = fit$par)
    if (is.null(best) || found$value < best$value) best <- found
  }
  polished <- nloptwrap(best$par, fn, lower, upper, control = list(
    algorithm = "NLOPT_LN_BOBYQA", xtol_abs = 1e-9, ftol_abs = 1e-13, xtol_rel = 0, ftol_rel = 0, maxeval = 1000))
  if (polished$fval < best$value) list(value = polished$fval, par = polished$par) else best
}

# Both ends of the interval in which the signed root of the deviance, in one coordinate of `par` with all others at
# their best, stays within the normal quantile. Found on the deviance itself, not on a spline through some of it.
inference_root <- function(fn, par, k, lower, upper, step, level = 0.95) {
  quantile <- qnorm((1 + level) / 2)
  rest <- seq_along(par)[-k]
  base <- fn(par)
  # At a variance of zero the deviance is even, hence stationary: a search from there would not leave it.
  away <- lapply(c(1, 5), function(steps) ifelse(lower[rest] == 0 & par[rest] == 0, steps * step, par[rest]))
  minimum <- function(value, from) {
    whole <- function(others) fn(replace(replace(par, rest, others), k, value))
    if (!length(rest)) return(list(value = whole(numeric()), par = numeric()))
    inference_minimum(whole, lapply(c(list(from, par[rest]), away), unname), lower[rest], upper[rest])
  }
  end <- function(side) {
    last <- unname(par[rest])
    zeta <- function(value) {
      found <- minimum(value, last)
      last <<- unname(found$par)
      sqrt(max(found$value - base, 0)) - quantile
    }
    edge <- if (side < 0) lower[k] else upper[k]
    if (par[k] == edge) return(edge)
    inside <- par[k]
    at_inside <- -quantile
    for (doubling in 0:40) {
      outside <- par[k] + side * step * 2^doubling
      reached <- side * (outside - edge) >= 0
      if (reached) outside <- edge
      at_outside <- zeta(outside)
      if (at_outside > 0) break
      if (reached) return(edge)
      inside <- outside
      at_inside <- at_outside
    }
    ends <- sort(c(inside, outside))
    values <- if (side < 0) c(at_outside, at_inside) else c(at_inside, at_outside)
    uniroot(zeta, ends, f.lower = values[1], f.upper = values[2], tol = 1e-9 * max(step, abs(par[k])))$root
  }
  c(end(-1), end(1))
}

# Standard deviations, correlations and sigma: roots of the deviance that lme4 itself profiles, by maximum likelihood.
inference_exact_variances <- function(m) {
  fn <- lme4:::devfun2(m, useSc = TRUE, signames = FALSE)
  par <- attr(fn, "optimum")
  par <- par[setdiff(names(par), names(fixef(m)))]
  correlation <- startsWith(names(par), "cor_")
  lower <- ifelse(correlation, -1, ifelse(names(par) == "sigma", par[["sigma"]] / 50, 0))  # no deviance at sigma = 0
  upper <- ifelse(correlation, 1, Inf)
  whole <- function(values) {
    value <- tryCatch(fn(values), error = function(e) Inf)
    if (is.finite(value)) value else 1e10
  }
  par <- nlminb(par, whole, lower = lower, upper = upper, control = list(rel.tol = 1e-15, x.tol = 1e-12))$par
  step <- ifelse(correlation, 0.1, ifelse(par > 0, 0.1 * par, 0.1 * par[["sigma"]]))
  ends <- vapply(seq_along(par), function(k) inference_root(whole, par, k, lower, upper, step[k]), numeric(2))
  list(names = names(par), lower = ends[1, ], upper = ends[2, ])
}

# Theta: roots of the criterion of the fit, restricted or not, each theta in units free of its covariate's.
inference_exact_theta <- function(fit) {
  devfun <- do.call(mkLmerDevfun, fit$parsed)
  scales <- interlace_scales(fit$parsed$reTrms)
  par <- unname(getME(fit$m, "theta")) * scales
  fn <- function(scaled) devfun(scaled / scales)
  lower <- fit$parsed$reTrms$lower
  ends <- vapply(seq_along(par), function(k) {
    inference_root(fn, par, k, lower, rep(Inf, length(par)), 0.1 * max(abs(par[k]), 0.1)) / scales[k]
  }, numeric(2))
  list(lower = ends[1, ], upper = ends[2, ])
}

# Coefficients: the deviance without their column of X, which enters as an offset; by maximum likelihood.
inference_exact_coefficients <- function(fit) {
  whole <- replace(fit$parsed, "REML", FALSE)
  lower <- whole$reTrms$lower
  scales <- interlace_scales(whole$reTrms)
  offset <- model.offset(whole$fr)
  if (is.null(offset)) offset <- rep(0, nrow(whole$X))
  smallest <- function(devfun, from) {
    # Zero variances are stationary, and some deviances have more than one minimum.
    starts <- c(list(from), lapply(c(0.05, 0.15, 0.5), function(sd) ifelse(lower == 0, sd, from)))
    inference_minimum(function(scaled) devfun(scaled / scales), starts, lower, rep(Inf, length(from)))
  }
  full <- do.call(mkLmerDevfun, whole)
  best <- smallest(full, unname(getME(fit$m, "theta")) * scales)
  full(best$par / scales)
  beta <- environment(full)$pp$beta(1)
  se <- sqrt(diag(as.matrix(vcov(fit$m))))
  ends <- vapply(seq_along(beta), function(j) {
    parts <- whole
    parts$X <- whole$X[, -j, drop = FALSE]
    zeta <- function(value) {
      parts$fr[["(offset)"]] <- offset + value * whole$X[, j]
      found <- smallest(do.call(mkLmerDevfun, parts), best$par)
      sqrt(max(found$value - best$value, 0)) - qnorm(0.975)
    }
    near <- beta[j] + c(-1, 1) * se[j]
    far <- beta[j] + c(-1, 1) * 6 * se[j]
    c(uniroot(zeta, c(far[1], near[1]), extendInt = "downX", tol = 1e-9 * se[j])$root,
      uniroot(zeta, c(near[2], far[2]), extendInt = "upX", tol = 1e-9 * se[j])$root)
  }, numeric(2))
  list(names = names(fixef(fit$m)), lower = ends[1, ], upper = ends[2, ])
}

inference_profile <- function(m, delta) {
  inference_intervals(confint(profile(m, delta = delta, optimizer = "nloptwrap", signames = FALSE)))
}

# ---- entries ------------------------------------------------------------------------------------------------------

# What does not exist for a model is left out, and what R could not do too, with its message.
inference_collect <- function(parts) {
  failures <- list()
  out <- list()
  for (name in names(parts)) {
    value <- tryCatch(parts[[name]](), error = function(e) {
      failures[[name]] <<- trimws(conditionMessage(e))
      NULL
    })
    if (!is.null(value)) out[[name]] <- value
  }
  out$failures <- failures
  out
}

inference_versions <- function() {
  packages <- c("lmerTest", "pbkrtest", "emmeans", "car", "performance", "numDeriv")
  c(interlace_versions(), sapply(packages, function(name) as.character(packageVersion(name)), simplify = FALSE))
}

# parts: names of what to find, separated by commas. delta: step of R's profile, smaller is finer. factor: of whose
# levels to find the means.
interlace_inference <- function(formula, data, parts, reml = TRUE, weights = NULL, offset = NULL, contrasts = NULL,
                                newdata = list(), delta = 0.1, factor = NULL) {
  inference_options({
    fit <- inference_lmer(inference_call(formula, data, weights, offset, contrasts), reml)
    tested <- lmerTest::as_lmerModLmerTest(fit$m)
    all <- list(
      satterthwaite = function() inference_tests(tested, "Satterthwaite"),
      kenward_roger = function() inference_tests(tested, "Kenward-Roger"),
      wald = function() inference_intervals(confint(fit$m, method = "Wald", parm = "beta_")),
      ranova = function() inference_ranova(lmerTest::as_lmerModLmerTest(fit$plain())),
      means_satterthwaite = function() inference_means(fit$m, factor, "satterthwaite"),
      means_kenward_roger = function() inference_means(fit$m, factor, "kenward-roger"),
      effect_sizes = function() inference_effect_sizes(fit$m),
      profile = function() inference_profile(fit$plain(), delta),
      exact_variances = function() inference_exact_variances(fit$plain()),
      exact_theta = function() inference_exact_theta(fit),
      exact_coefficients = function() inference_exact_coefficients(fit)
    )
    out <- inference_collect(all[strsplit(parts, ",")[[1]]])
    out$theta <- unname(getME(fit$m, "theta"))
    out$criterion <- -2 * as.numeric(logLik(fit$m))
    out$versions <- inference_versions()
    out
  })
}

# A model at the optimum that glmer.R finds, with the covariance found there.
inference_glmer <- function(given, family, record) {
  at <- c(unlist(lapply(record$terms, `[[`, "theta")), record$beta$values)
  stay <- function(fn, par, lower, upper, control) {
    if (length(par) == length(at)) par <- at
    list(par = par, fval = fn(par), conv = 0, message = "", feval = 1L)
  }
  control <- glmerControl(optimizer = list(stay, stay), tolPwrss = 1e-13, calc.derivs = FALSE,
                          check.conv.singular = "ignore")
  eval(as.call(c(list(as.name("glmer")), given, list(family = family, control = control))), globalenv())
}

inference_chi_square <- function(m, covariance, type) {
  table <- car::Anova(m, type = type, vcov. = covariance)
  list(terms = rownames(table), chi_square = table$Chisq, df = table$Df, p = table[["Pr(>Chisq)"]])
}

# Roots of the deviance in (theta, beta).
inference_exact_glmer <- function(m) {
  fn <- update(m, devFunOnly = TRUE)
  n_theta <- length(getME(m, "theta"))
  par <- unname(c(getME(m, "theta"), fixef(m)))
  lower <- c(getME(m, "lower"), rep(-Inf, length(par) - n_theta))
  step <- c(0.1 * pmax(par[seq_len(n_theta)], 0.1), sqrt(diag(as.matrix(vcov(m)))))
  ends <- vapply(seq_along(par), function(k) {
    inference_root(fn, par, k, lower, rep(Inf, length(par)), step[k])
  }, numeric(2))
  list(lower = ends[1, ], upper = ends[2, ])
}

interlace_generalized_inference <- function(formula, data, parts, family, weights = NULL, offset = NULL,
                                            contrasts = NULL, newdata = list(), delta = 0.1) {
  inference_options({
    record <- interlace_glmer(formula, data, family, weights = weights, offset = offset, contrasts = contrasts,
                              keep_rows = 2, keep_levels = 2)
    given <- inference_call(formula, data, weights, offset, contrasts)
    m <- inference_glmer(given, family, record)
    covariance <- matrix(record$vcov$values, record$vcov$dim[1], dimnames = list(names(fixef(m)), names(fixef(m))))
    plain <- function() {
      tight <- glmerControl(optimizer = "nloptwrap", optCtrl = inference_tight, tolPwrss = 1e-12)
      eval(as.call(c(list(as.name("glmer")), given, list(family = family, control = tight))), globalenv())
    }
    all <- list(
      anova = function() list(II = inference_chi_square(m, covariance, 2), III = inference_chi_square(m, covariance, 3)),
      profile = function() inference_profile(plain(), delta),
      exact = function() inference_exact_glmer(m)
    )
    out <- inference_collect(all[strsplit(parts, ",")[[1]]])
    out$beta <- record$beta
    out$versions <- inference_versions()
    out
  })
}

# ---- as a script --------------------------------------------------------------------------------------------------

inference_run <- function(folder, job) {
  started <- proc.time()["elapsed"]
  arguments <- list(
    job$formula, read_frame(folder, job$data), job$parts, weights = job$weights, offset = job$offset,
    contrasts = if (length(job$contrasts)) job$contrasts, delta = job$delta
  )
  record <- if (is.null(job$family)) do.call(interlace_inference, c(arguments, list(reml = job$reml, factor = job$factor)))
    else do.call(interlace_generalized_inference, c(arguments, list(family = job$family)))
  writeLines(to_json(record), file.path(folder, paste0(job$name, ".json")))
  message(sprintf("%s: %.1f s", job$name, proc.time()["elapsed"] - started))
  for (part in names(record$failures)) message("  no ", part, ": ", record$failures[[part]])
}

if (length(commandArgs(trailingOnly = TRUE)) == 1L) {
  Sys.setenv(OPENBLAS_NUM_THREADS = "1", OMP_NUM_THREADS = "1")
  here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))))
  for (script in c("lmer.R", "glmer.R")) source(file.path(here, "..", "interlace", "rbridge", script))
  # Of lmer_reference.R the functions, which read frames and write JSON, and not the lines that run models.
  for (line in parse(file.path(here, "lmer_reference.R"))) {
    if (identical(line[[1]], quote(`<-`)) && identical(line[[3]][[1]], quote(`function`))) eval(line)
  }
  folder <- commandArgs(trailingOnly = TRUE)[1]
  for (job in jsonlite::fromJSON(file.path(folder, "jobs.json"), simplifyVector = FALSE)) inference_run(folder, job)
}
