library(jsonlite)
input <- file("stdin", "r")
while (length(line <- readLines(input, n = 1)) > 0) {
  event <- fromJSON(line, simplifyVector = FALSE)
  message("order ", event$record$order_id, " of ", event$key) # The log.
  before <- event$tables$orders_of
  count <- if (is.null(before)) 1 else before + 1
  write <- list(list(table = "orders_of", value = count))
  cat(toJSON(list(id = event$id, result = "ok", write = write), auto_unbox = TRUE), "\n")
  flush(stdout())
}
