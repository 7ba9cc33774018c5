# lme4's influence measures, and refits without some rows, as plain lists of vectors.
#
# The parity tests source this file into a running R, after interlace/rbridge/lmer.R, whose search it uses: lme4's
# influence() refits with lmer()'s default tolerances, which leave 1e-5 of theta in every number.

# ---- fits ---------------------------------------------------------------------------------------------------------

# From where the whole model's optimum is, from ones, and from the better end with small variances enlarged; the best of
# these polished by Newton's method.
deletion_search <- function(scales, known) {
  function(fn, par, lower, upper, control) {
    scaled <- function(phi) fn(phi / scales)
    ones <- as.numeric(lower == 0)
    end <- function(start) interlace_optimizers$nloptr_bobyqa(scaled, start, lower, 5000L)
    better <- function(ends) ends[[which.min(vapply(ends, scaled, 0))]]
    near <- if (is.null(known)) par * scales else ifelse(lower == 0, pmax(known * scales, 0.05), known * scales)
    best <- better(list(end(near), end(ones)))
    best <- better(list(best, end(ifelse(lower == 0 & best < 0.1, 0.3, best))))
    polished <- interlace_polish(scaled, best, lower)$par
    if (scaled(polished) <= scaled(best) + interlace_noise(scaled(best))) best <- polished
    list(par = best / scales, fval = scaled(best), conv = 0, message = "", feval = 0L)
  }
}

# What lmer() is in the call of a model that lme4's influence() evaluates again with other data, a subset, a start and
# a control: the same model, fitted tightly to those rows. `caller` is where the call stands.
deletion_lmer <- function(given, caller, known) {
  rows <- eval(given$data, caller)
  if (!is.null(given$subset)) rows <- rows[eval(given$subset, rows, caller), , drop = FALSE]
  assign("interlace_rows", rows, envir = globalenv())
  given[c("subset", "start", "control")] <- NULL
  given$data <- quote(interlace_rows)
  quick <- lmerControl(calc.derivs = FALSE, check.conv.singular = "ignore")
  run <- function(f, control) eval(as.call(c(list(as.name(f)), given, list(control = control))), globalenv())
  scales <- interlace_scales(run("lFormula", quick)$reTrms)
  run("lmer", lmerControl(optimizer = deletion_search(scales, known), calc.derivs = FALSE))
}

# Evaluates `work` on the tightly fitted model, a function that fits it to other rows, and one that gives the criteria of
# all fits since it was last asked. Data and the function that stands in the model's call are in the global environment,
# where lme4 evaluates the call again.
deletion_with_model <- function(formula, data, reml, weights, offset, contrasts, work) {
  saved <- options(contrasts = c("contr.treatment", "contr.treatment"), na.action = "na.omit")
  locale <- Sys.getlocale("LC_COLLATE")
  Sys.setlocale("LC_COLLATE", "C")
  on.exit({
    options(saved)
    Sys.setlocale("LC_COLLATE", locale)
    suppressWarnings(rm(list = c("interlace_data", "interlace_rows", "interlace_tight"), envir = globalenv()))
  })
  rownames(data) <- NULL
  assign("interlace_data", data, envir = globalenv())
  if (!is.null(offset)) formula <- paste0(formula, " + offset(", offset, ")")
  given <- list(formula = as.formula(formula, env = globalenv()), data = quote(interlace_data), REML = reml)
  if (length(contrasts)) given$contrasts <- contrasts
  if (!is.null(weights)) given$weights <- as.name(weights)
  call <- as.call(c(list(as.name("interlace_tight")), given))
  known <- criteria <- NULL
  assign("interlace_tight", function(...) {
    fitted <- deletion_lmer(as.list(sys.call())[-1], parent.frame(), known)
    criteria <<- c(criteria, -2 * as.numeric(logLik(fitted)))
    fitted
  }, globalenv())
  reached <- function() {
    found <- criteria
    criteria <<- NULL
    found
  }
  suppressMessages(suppressWarnings({
    m <- eval(call, globalenv())
    m@call <- call
    known <- getME(m, "theta")
    work(m, function(rows) {
      call$data <- rows
      eval(call, globalenv())
    }, reached)
  }))
}

# ---- lme4's measures --------------------------------------------------------------------------------------------------

# Measures from the fit alone, in the order of the rows used; and of influence() for the levels of each factor named in
# `levels`, a single "1" meaning rows, separated by commas.
interlace_influence <- function(formula, data, levels, reml = TRUE, weights = NULL, offset = NULL, contrasts = NULL,
                                newdata = list()) {
  deletion_with_model(formula, data, reml, weights, offset, contrasts, function(m, fit, reached) {
    by_level <- function(level) {
      reached()
      found <- if (level == "1") influence(m, data = interlace_data) else influence(m, groups = level)
      deleted <- if (level == "1") "[-case]" else paste0("[-", level, "]")
      list(deleted = rownames(found[[paste0("fixed.effects", deleted)]]), criterion = reached(),
           fixed_names = names(fixef(m)), component_names = names(found$var.cov.comps),
           fixed = interlace_matrix(found[[paste0("fixed.effects", deleted)]]),
           components = interlace_matrix(found[[paste0("var.cov.comps", deleted)]]),
           cooks.distance = unname(cooks.distance(found)), dfbeta = interlace_matrix(dfbeta(found)),
           dfbetas = interlace_matrix(dfbetas(found)), dfbeta_varcov = interlace_matrix(dfbeta(found, which = "var.cov")))
    }
    wanted <- strsplit(levels, ",")[[1]]
    list(rows = names(fitted(m)), hatvalues = unname(hatvalues(m)), rstudent = unname(rstudent(m)),
         cooks.distance = unname(cooks.distance(m)), criterion = -2 * as.numeric(logLik(m)),
         influence = structure(lapply(wanted, by_level), names = wanted))
  })
}

# ---- refits -------------------------------------------------------------------------------------------------------------

# Estimates without each set of rows. `newdata$sets` has columns `set` and `row`, both counted from 1; rows are those of
# `data`.
interlace_deletions <- function(formula, data, newdata, reml = TRUE, weights = NULL, offset = NULL, contrasts = NULL) {
  deletion_with_model(formula, data, reml, weights, offset, contrasts, function(m, fit, reached) {
    lapply(split(newdata$sets$row, newdata$sets$set), function(rows) {
      refit <- fit(droplevels(interlace_data[-rows, , drop = FALSE]))
      covariances <- as.data.frame(VarCorr(refit), order = "lower.tri")
      list(beta = interlace_named(fixef(refit)), vcov = interlace_matrix(vcov(refit)), theta = getME(refit, "theta"),
           sigma = sigma(refit), criterion = -2 * as.numeric(logLik(refit)), components = covariances$vcov)
    })
  })
}
