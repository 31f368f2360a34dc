# Called by make.py: writes R's own models into the directory that it is given, and says what made each.
# `r-runs-*` would run `true` (which does nothing) when `predict` or `update` is called with them.
library(randomForest)
library(survival)
folder <- commandArgs(TRUE)[1]
of_r <- paste0("R ", R.version$major, ".", R.version$minor)

made <- function(model, name, by = of_r) {
  saveRDS(model, file.path(folder, name), version = 3)
  cat(name, "\t", by, "\n", sep = "")
}

cars <- mtcars[1:20, ]
linear <- lm(mpg ~ wt + poly(hp, 2) + log(disp), data = cars)
made(linear, "r-linear.rds")
words <- data.frame(source = cars$wt, system = cars$hp, url = cars$disp, mpg = cars$mpg)
made(lm(mpg ~ source + system:url + I(url^2), data = words), "r-columns.rds")
made(lm(as.formula(paste("mpg ~", "wt")), data = get("cars")), "r-formula.rds")
made(randomForest(Species ~ ., iris, ntree = 3), "r-forest.rds",
     paste("randomForest", packageVersion("randomForest")))
made(coxph(Surv(time, status) ~ age + strata(sex), lung[1:60, ], y = FALSE), "r-survival.rds",
     paste("survival", packageVersion("survival")))

predicts <- linear
attr(predicts$terms, "predvars") <- quote(list(mpg, base::system("true"), wt, poly(hp, 2), log(disp)))
made(predicts, "r-runs-when-it-predicts.rds")
updates <- linear
updates$call <- quote(lm(mpg ~ wt, data = read.csv(pipe("true"))))
made(updates, "r-runs-when-it-is-updated.rds")
made(glm(am ~ wt, data = cars, family = binomial), "r-with-functions.rds")
