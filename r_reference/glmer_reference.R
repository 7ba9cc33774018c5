# Fits generalized models as lmer_reference.R fits linear ones, from the same kind of folder.
#
#   Rscript r_reference/glmer_reference.R JOBS_FOLDER

script <- normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
rbridge <- file.path(dirname(script), "..", "interlace", "rbridge")
source(file.path(rbridge, "lmer.R"))
source(file.path(rbridge, "glmer.R"))
Sys.setenv(OPENBLAS_NUM_THREADS = "1", OMP_NUM_THREADS = "1")

# Of lmer_reference.R the functions, which read frames and write JSON, and not the lines that run linear models.
for (line in parse(file.path(dirname(script), "lmer_reference.R"))) {
  if (identical(line[[1]], quote(`<-`)) && identical(line[[3]][[1]], quote(`function`))) eval(line)
}

fit <- function(folder, job) {
  record <- interlace_glmer(
    job$formula, read_frame(folder, job$data), family = job$family, link = job$link, nAGQ = job$nAGQ,
    nb_theta = job$nb_theta, weights = job$weights, offset = job$offset,
    contrasts = if (length(job$contrasts)) job$contrasts, newdata = lapply(job$newdata, read_frame, folder = folder),
    keep_rows = job$keep_rows, keep_levels = job$keep_levels, time_default = TRUE
  )
  writeLines(to_json(record), file.path(folder, paste0(job$name, ".json")))
}

folder <- commandArgs(trailingOnly = TRUE)[1]
for (job in jsonlite::fromJSON(file.path(folder, "jobs.json"), simplifyVector = FALSE)) {
  started <- proc.time()["elapsed"]
  fit(folder, job)
  message(sprintf("%s: %.1f s", job$name, proc.time()["elapsed"] - started))
}
