require "json"
$stdout.sync = true # Else a result waits in a buffer.

$stdin.each_line do |line|
  event = JSON.parse(line)
  warn "order #{event["record"]["order_id"]} of #{event["key"]}" # The log.
  count = (event["tables"]["orders_of"] || 0) + 1
  write = [{ table: "orders_of", value: count }]
  puts JSON.generate(id: event["id"], result: "ok", write: write)
end
