# Export the data sets that interlace packages from their R packages.
#
#   Rscript r_reference/datasets.R OUT_DIR
#
# Writes OUT_DIR/<name>.csv (one line a row, factors as labels, missing cells empty, every number with the fewest digits
# that read back as the same double) and OUT_DIR/types.json (R and package versions, column types, levels in R's order).
# `python r_reference/pack_datasets.py OUT_DIR` turns both into the files the package ships.

suppressPackageStartupMessages(library(jsonlite))

WANTED <- list(
  lme4 = c("sleepstudy", "cbpp", "Penicillin", "Pastes", "Dyestuff", "Dyestuff2", "InstEval", "VerbAgg", "grouseticks",
           "cake", "Arabidopsis"),
  mlmRev = c("Exam", "Contraception", "ScotsSec", "Hsb82", "egsingle", "Gcsemv", "Early", "Oxboys", "guImmun", "Mmmec",
             "star"),
  nlme = c("Oxide", "Machines", "ergoStool", "Orthodont", "Rail", "Oats", "Pixel", "Alfalfa", "BodyWeight", "Assay",
           "Milk", "RatPupWeight")
)

# The shortest of 15, 16 or 17 significant digits that reads back as the same double.
shortest <- function(x) {
  text <- sprintf("%.15g", x)
  for (digits in c(16, 17)) {
    lossy <- as.numeric(ifelse(is.na(x), "0", text)) != ifelse(is.na(x), 0, x)
    text[lossy] <- sprintf("%.*g", digits, x[lossy])
  }
  ifelse(is.na(x), "", text)
}

cells <- function(column) {
  if (is.factor(column)) {
    text <- as.character(column)
    quoted <- grepl("[\",]", text)
    text[quoted] <- paste0("\"", gsub("\"", "\"\"", text[quoted]), "\"")
    return(ifelse(is.na(text), "", text))
  }
  stopifnot(is.numeric(column))
  shortest(as.vector(column))
}

type_of <- function(column) {
  if (is.factor(column)) {
    return(list(type = unbox("category"), ordered = unbox(is.ordered(column)), levels = levels(column)))
  }
  whole <- is.integer(column) && !anyNA(column)
  list(type = unbox(if (whole) "int64" else "float64"))
}

export <- function(name, package, out) {
  holder <- new.env()
  data(list = name, package = package, envir = holder)
  frame <- as.data.frame(holder[[name]])
  class(frame) <- "data.frame"
  body <- do.call(paste, c(unname(lapply(frame, cells)), sep = ","))
  connection <- file(file.path(out, paste0(name, ".csv")), open = "wb", encoding = "UTF-8")
  writeLines(c(paste(names(frame), collapse = ","), body), connection, sep = "\n", useBytes = TRUE)
  close(connection)
  list(package = unbox(package), version = unbox(as.character(packageVersion(package))),
       license = unbox(packageDescription(package)$License), rows = unbox(nrow(frame)), columns = lapply(frame, type_of))
}

main <- function(out) {
  dir.create(out, showWarnings = FALSE, recursive = TRUE)
  sets <- list()
  for (package in names(WANTED)) for (name in WANTED[[package]]) sets[[name]] <- export(name, package, out)
  result <- list(R = unbox(paste(R.version$major, R.version$minor, sep = ".")), datasets = sets)
  writeLines(toJSON(result, pretty = FALSE), file.path(out, "types.json"))
}

main(commandArgs(trailingOnly = TRUE)[[1]])
