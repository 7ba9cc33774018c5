# lme4's influence() of a generalized model as it comes, as plain lists of vectors; sourced after lmer.R.
#
# influence() resets the control of the fit, so that its refits stop at glmer()'s default tolerances whatever one does.
# The call is evaluated again with other data, which is why the data stand in the global environment.
interlace_glmm_influence <- function(formula, data, group, family, weights = NULL, offset = NULL, contrasts = NULL,
                                     newdata = list()) {
  saved <- options(contrasts = c("contr.treatment", "contr.treatment"), na.action = "na.omit")
  on.exit({
    options(saved)
    rm("interlace_data", envir = globalenv())
  })
  assign("interlace_data", data, envir = globalenv())
  if (!is.null(offset)) formula <- paste0(formula, " + offset(", offset, ")")
  given <- list(as.formula(formula, env = globalenv()), data = quote(interlace_data), family = as.name(family))
  if (!is.null(weights)) given$weights <- as.name(weights)
  suppressMessages(suppressWarnings({
    found <- influence(eval(as.call(c(list(as.name("glmer")), given)), globalenv()), groups = group)
  }))
  list(deleted = as.character(found$deleted), names = names(found$fixed.effects),
       cooks.distance = unname(cooks.distance(found)), dfbetas = interlace_matrix(dfbetas(found)),
       components = interlace_matrix(found[[paste0("var.cov.comps[-", group, "]")]]))
}
