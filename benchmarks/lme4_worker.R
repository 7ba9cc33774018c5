# Times lme4 on one case when it is asked to: Rscript lme4_worker.R data.csv job.json. Its questions and answers are those
# of worker.py.
suppressPackageStartupMessages({library(lme4); library(jsonlite)})

arguments <- commandArgs(trailingOnly = TRUE)
job <- fromJSON(arguments[[2]])
data <- read.csv(arguments[[1]], check.names = FALSE, colClasses = unlist(job$classes))
for (name in names(job$levels)) data[[name]] <- factor(data[[name]], levels = job$levels[[name]])
formula <- as.formula(job$formula)
family_of <- if (is.null(job$family)) "linear" else job$family
trials <- if (is.null(job$weights)) NULL else data[[job$weights]]
quietly <- function(call) suppressWarnings(suppressMessages(call))
fit <- function() quietly(switch(family_of,
  linear = lmer(formula, data, REML = job$reml),
  negative.binomial = glmer.nb(formula, data),
  glmer(formula, data, family = family_of, weights = trials, nAGQ = job$nAGQ)
))

# Each kind of work: what is timed, and the number that it leads to.
works <- list(
  fit = function() {
    list(work = fit, answer = function(result) {
      criterion <- -2 * as.numeric(logLik(result))
      if (job$nAGQ == 1) return(criterion)
      # By quadrature, logLik() of lme4 1.1 leaves out the saturated model, and that of some later version does not.
      if (packageVersion("lme4") >= "2.0") return(NULL)
      y <- getME(result, "y")
      criterion + family(result)$aic(y, rep(1, length(y)), y, weights(result), 0)
    })
  },
  refit = function() {
    fitted <- fit()
    y <- job$y
    list(work = function() quietly(refit(fitted, y)), answer = function(result) {
      # logLik() of a refit by lme4 1.1-31 does not belong to its theta: evaluate the criterion anew
      data[[all.vars(formula)[[1]]]] <- y
      lmer(formula, data, REML = job$reml, devFunOnly = TRUE)(getME(result, "theta"))
    })
  },
  bootstrap = function() {
    fitted <- fit()
    statistics <- function(m) c(as.data.frame(VarCorr(m))$sdcor, fixef(m))
    list(
      work = function() quietly(bootMer(fitted, statistics, nsim = job$replicates, seed = 1)),
      answer = function(result) sd(result$t[, ncol(result$t)], na.rm = TRUE)
    )
  },
  deletion = function() {
    fitted <- fit()
    work <- function() quietly(lapply(list(NULL, "Subject"), function(level) {
      found <- if (is.null(level)) influence(fitted, ncores = 1) else influence(fitted, level, ncores = 1)
      list(cooks = cooks.distance(found), dfbeta = dfbeta(found), dfbetas = dfbetas(found))
    }))
    list(work = work, answer = function(result) max(abs(result[[2]]$dfbeta[, "Days"])))
  }
)

say <- function(reply) {
  cat(toJSON(reply, auto_unbox = TRUE, digits = NA, null = "null"), "\n", sep = "")
  flush(stdout())
}

chosen <- works[[job$kind]]()
say(list(version = as.character(packageVersion("lme4")), r = as.character(getRversion())))
questions <- file("stdin", "r")
while (length(line <- readLines(questions, n = 1)) == 1) {
  words <- strsplit(line, " ")[[1]]
  if (words[[1]] == "answer") {
    say(list(answer = chosen$answer(result)))
  } else {
    calls <- as.integer(words[[2]])
    start <- Sys.time()
    for (i in seq_len(calls)) result <- chosen$work()
    say(list(seconds = as.numeric(difftime(Sys.time(), start, units = "secs")) / calls))
  }
}
