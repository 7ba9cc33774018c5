# Closed forms from n x n matrices, for models with one grouping factor whose random effects are an intercept and slopes
# that are among the fixed effects.

pieces <- function(m) {
  X <- as.matrix(lme4::getME(m, "X"))
  Z <- as.matrix(lme4::getME(m, "Z"))
  s2 <- stats::sigma(m)^2
  ZDZ <- s2 * tcrossprod(Z %*% as.matrix(lme4::getME(m, "Lambda")))
  V <- ZDZ + s2 * diag(nrow(X))
  W <- solve(V)
  C <- solve(t(X) %*% W %*% X)
  P <- W - W %*% X %*% C %*% t(X) %*% W
  y <- lme4::getME(m, "y")
  list(X = X, s2 = s2, ZDZ = ZDZ, V = V, W = W, C = C, P = P, r = drop(y - X %*% C %*% t(X) %*% W %*% y), y = y)
}

deletion_measures <- function(p, rows) {
  B <- p$C %*% t(p$X) %*% p$W[, rows, drop = FALSE]
  Q <- solve(p$P[rows, rows, drop = FALSE])
  delta <- B %*% Q %*% (p$W %*% p$r)[rows]
  C <- p$C + B %*% Q %*% t(B)
  k <- ncol(p$X)
  c(cooksd = sum(delta * solve(p$C, delta)) / k, mdffits = sum(delta * solve(C, delta)) / k,
    covtrace = abs(sum(diag(solve(p$C, C))) - k), covratio = det(C) / det(p$C))
}

leverages <- function(p) {
  H1 <- p$X %*% p$C %*% t(p$X) %*% p$W
  H2 <- p$ZDZ %*% p$W %*% (diag(nrow(H1)) - H1)
  data.frame(leverage.overall = diag(H1 + H2), leverage.fixef = diag(H1), leverage.ranef = diag(H2),
             leverage.ranef.uc = diag(p$ZDZ) / p$s2)
}

hlm_influence <- function(model, level = 1, approx = TRUE, leverage = "overall") {
  p <- pieces(model)
  frame <- stats::model.frame(model)
  kept <- leverages(p)[paste0("leverage.", leverage)]
  if (level == 1) {
    measures <- t(vapply(seq_along(p$y), function(i) deletion_measures(p, i), numeric(4)))
    return(data.frame(id = seq_along(p$y), frame, measures, kept, check.names = FALSE))
  }
  groups <- lme4::getME(model, "flist")[[level]]
  labels <- unique(as.character(groups))
  measures <- t(vapply(labels, function(g) deletion_measures(p, which(groups == g)), numeric(4)))
  by_level <- apply(kept, 2, function(column) tapply(column, groups, mean))
  structure(data.frame(labels, measures, by_level, row.names = NULL), names = c(level, colnames(measures), names(kept)))
}

least_squares <- function(model) {
  X <- as.matrix(lme4::getME(model, "X"))
  y <- lme4::getME(model, "y")
  groups <- lme4::getME(model, "flist")[[1]]
  lapply(split(seq_along(y), groups), function(rows) c(list(rows = rows), stats::lm.fit(X[rows, , drop = FALSE], y[rows])))
}

row_least_squares <- function(model, standardize) {
  out <- numeric(length(lme4::getME(model, "y")))
  for (fit in least_squares(model)) {
    h <- rowSums(qr.Q(fit$qr)[, seq_len(fit$rank), drop = FALSE]^2)
    scale <- sqrt(sum(fit$residuals^2) / fit$df.residual * (1 - h))
    out[fit$rows] <- if (standardize) fit$residuals / scale else fit$residuals
  }
  out
}

hlm_resid <- function(object, level = 1, standardize = FALSE) {
  p <- pieces(object)
  if (level == 1) {
    e <- p$s2 * drop(p$W %*% p$r)
    raw <- row_least_squares(object, FALSE)
    shown <- list(e, p$y - e, raw, p$y - raw, p$r, p$y - p$r)
    names(shown) <- c(".resid", ".fitted", ".ls.resid", ".ls.fitted", ".mar.resid", ".mar.fitted")
    if (standardize) {
      shown[c(1, 3, 5)] <- list(e / sqrt(p$s2), row_least_squares(object, TRUE), resid_marginal(object, "cholesky"))
      names(shown)[c(1, 3, 5)] <- c(".std.resid", ".std.ls.resid", ".chol.mar.resid")
    }
    return(data.frame(.id = seq_along(e), stats::model.frame(object), shown, check.names = FALSE))
  }
  modes <- lme4::ranef(object, condVar = TRUE)[[level]]
  ls <- t(vapply(least_squares(object), function(fit) fit$coefficients, numeric(ncol(p$X))))
  ls <- scale(ls, scale = FALSE)[, names(modes), drop = FALSE]
  u <- as.matrix(modes)
  if (standardize) {
    variances <- apply(attr(modes, "postVar"), 3, function(v) diag(as.matrix(v)))
    u <- u / sqrt(matrix(variances, ncol = ncol(u), byrow = TRUE))
    ls <- scale(ls, center = FALSE, scale = apply(ls, 2, stats::sd))
  }
  shown <- data.frame(u, ls, row.names = NULL)
  short <- c("intercept", tolower(names(modes)[-1]))
  prefix <- if (standardize) c(".std.ranef.", ".std.ls.") else c(".ranef.", ".ls.")
  names(shown) <- paste0(rep(prefix, each = length(short)), short)
  present <- unique(as.character(lme4::getME(object, "flist")[[level]]))
  structure(cbind(present, shown[match(present, rownames(modes)), ]), names = c(level, names(shown)))
}

resid_marginal <- function(object, type) {
  p <- pieces(object)
  switch(type, raw = p$r, pearson = p$r / sqrt(diag(p$V)),
         studentized = p$r / sqrt(diag(p$V - p$X %*% p$C %*% t(p$X))), cholesky = drop(solve(t(chol(p$V)), p$r)))
}

resid_conditional <- function(object, type) {
  p <- pieces(object)
  e <- p$s2 * drop(p$W %*% p$r)
  switch(type, raw = e, pearson = e / sqrt(p$s2), studentized = e / (p$s2 * sqrt(diag(p$P))), cholesky = e / sqrt(p$s2))
}

pull_resid <- function(object, type, standardize) {
  switch(type, ls = row_least_squares(object, standardize),
         eb = resid_conditional(object, if (standardize) "cholesky" else "raw"),
         marginal = resid_marginal(object, if (standardize) "cholesky" else "raw"))
}
