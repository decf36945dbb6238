-- What is due enters the log before anything that is added later. The clock is asked only if delayed events wait.
if delayed_due then
  local clock = redis.call('TIME')
  if (tonumber(delayed_due) or 0) <= clock[1] * 1000 + math.floor(clock[2] / 1000) then
    return redis.error_reply('OVERDUE due=' .. delayed_due)
  end
end
