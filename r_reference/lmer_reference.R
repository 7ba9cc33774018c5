# Fits the jobs that `python -m parity record` writes, and saves what lme4 says with 17 significant digits.
#
#   Rscript r_reference/lmer_reference.R JOBS_FOLDER
#
# JOBS_FOLDER/jobs.json lists the jobs; each frame is a CSV of numbers (factors as codes) with its kinds and levels in
# the job. JOBS_FOLDER/<name>.json receives the record. The fitting itself is interlace/rbridge/lmer.R, the same code
# that runs live through rpy2.

arguments <- commandArgs(trailingOnly = TRUE)
script <- normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(dirname(script), "..", "interlace", "rbridge", "lmer.R"))
Sys.setenv(OPENBLAS_NUM_THREADS = "1", OMP_NUM_THREADS = "1")

to_json <- function(x) {
  if (is.null(x) || (is.list(x) && !length(x))) return("[]")
  if (is.list(x)) {
    inside <- vapply(x, to_json, "")
    if (is.null(names(x))) return(paste0("[", paste(inside, collapse = ","), "]"))
    return(paste0("{", paste0(text_json(names(x)), ":", inside, collapse = ","), "}"))
  }
  values <- if (is.character(x)) text_json(x)
    else if (is.logical(x)) ifelse(x, "true", "false")
    else ifelse(is.finite(x), sprintf("%.17g", x), "null")
  paste0("[", paste(values, collapse = ","), "]")
}

text_json <- function(x) vapply(x, function(one) as.character(jsonlite::toJSON(one, auto_unbox = TRUE)), "")

read_frame <- function(folder, spec) {
  frame <- read.csv(file.path(folder, spec$file), colClasses = "numeric", check.names = FALSE)
  for (column in spec$columns) {
    values <- frame[[column$name]]
    levels <- unlist(column$levels)
    frame[[column$name]] <- switch(column$kind,
      numeric = values,
      integer = as.integer(values),
      logical = as.logical(values),
      factor = factor(levels[values], levels = levels),
      ordered = factor(levels[values], levels = levels, ordered = TRUE)
    )
  }
  frame
}

run <- function(folder, job) {
  record <- interlace_lmer(
    job$formula, read_frame(folder, job$data), reml = job$reml, weights = job$weights, offset = job$offset,
    contrasts = if (length(job$contrasts)) job$contrasts, newdata = lapply(job$newdata, read_frame, folder = folder),
    keep_rows = job$keep_rows, keep_levels = job$keep_levels, time_default = TRUE
  )
  writeLines(to_json(record), file.path(folder, paste0(job$name, ".json")))
}

folder <- arguments[1]
for (job in jsonlite::fromJSON(file.path(folder, "jobs.json"), simplifyVector = FALSE)) {
  message(job$name)
  run(folder, job)
}
