# What the package HLMdiag says about a model, as plain lists in the layout of expected/hlmdiag/README.md.
#
# The parity tests source this file into a running R that has HLMdiag, after interlace/rbridge/lmer.R and deletion.R. Of
# influence it brings the closed forms; refits are judged by deletion.R, since HLMdiag's stop where lmer() does.

hlmdiag_try <- function(expr) tryCatch(expr, error = function(e) list(error = conditionMessage(e)))

hlmdiag_values <- function(table, columns) {
  found <- lapply(columns, function(column) {
    values <- table[[column]]
    if (is.factor(values)) as.character(values) else unname(values)
  })
  structure(found, names = columns)
}

# Up to 0.5.1 the labels of groups stand in order of first appearance and their leverages in that of the levels.
hlmdiag_influence <- function(m, level) {
  kinds <- c("overall", "fixef", "ranef", "ranef.uc")
  table <- HLMdiag::hlm_influence(m, level = if (level == "1") 1 else level, approx = TRUE, leverage = kinds)
  columns <- grep("^(cooksd|mdffits|covtrace|covratio|leverage[.].*)$", names(table), value = TRUE)
  values <- hlmdiag_values(table, columns)
  out <- list(columns_in_package_table = names(table))
  if (level == "1") return(c(out, list(row = rownames(model.frame(m)), values = values)))
  labels <- as.character(table[[1]])
  if (packageVersion("HLMdiag") <= "0.5.1") {
    levels <- levels(getME(m, "flist")[[level]])
    moved <- grep("^leverage", columns)
    values[moved] <- lapply(values[moved], function(x) unname(structure(x, names = levels)[labels]))
  }
  c(out, list(group = labels, values = values))
}

hlmdiag_residuals <- function(m, level, standardize) {
  table <- HLMdiag::hlm_resid(m, level = if (level == "1") 1 else level, standardize = standardize)
  first <- if (level == "1") character() else names(table)[1]
  columns <- setdiff(grep("^[.]", names(table), value = TRUE), c(".id", first))
  out <- list(values = hlmdiag_values(table, c(first, columns)))
  if (level == "1") c(out, list(columns_in_package_table = names(table))) else out
}

# levels: "1" and grouping factors, separated by commas.
interlace_hlmdiag <- function(formula, data, levels, reml = TRUE, weights = NULL, offset = NULL, contrasts = NULL,
                              newdata = list()) {
  deletion_with_model(formula, data, reml, weights, offset, contrasts, function(m, fit, reached) {
    m@call[[1]] <- as.name("lmer")
    wanted <- strsplit(levels, ",")[[1]]
    by_level <- function(work) structure(lapply(wanted, work), names = wanted)
    by_type <- function(f) {
      types <- c("raw", "pearson", "studentized", "cholesky")
      structure(lapply(types, function(type) hlmdiag_try(unname(f(m, type = type)))), names = types)
    }
    pulled <- expand.grid(type = c("ls", "eb", "marginal"), standardize = c(FALSE, TRUE), stringsAsFactors = FALSE)
    list(
      model = list(rows_used = rownames(model.frame(m))),
      influence = by_level(function(level) list(approx_TRUE = hlmdiag_try(hlmdiag_influence(m, level)))),
      hlm_resid = by_level(function(level) list(
        standardize_FALSE = hlmdiag_try(hlmdiag_residuals(m, level, FALSE)),
        standardize_TRUE = hlmdiag_try(hlmdiag_residuals(m, level, TRUE))
      )),
      resid_marginal = by_type(HLMdiag::resid_marginal),
      resid_conditional = by_type(HLMdiag::resid_conditional),
      pull_resid = structure(
        Map(function(type, standardize) hlmdiag_try(unname(HLMdiag::pull_resid(m, type = type, standardize = standardize))),
            pulled$type, pulled$standardize),
        names = paste0(pulled$type, ifelse(pulled$standardize, "_standardized", ""))
      ),
      versions = list(HLMdiag = as.character(packageVersion("HLMdiag")))
    )
  })
}
