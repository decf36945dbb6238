#!/bin/sh
# Counts the orders of each customer in the table `orders_of`. Needs jq.
while IFS= read -r line; do
  printf '%s' "$line" | jq -r '"order \(.record.order_id) of \(.key)"' >&2
  printf '%s' "$line" | jq -c '{id, result: "ok",
    write: [{table: "orders_of", value: ((.tables.orders_of // 0) + 1)}]}'
done
