-- Notes in the state how many events are postponed, and when the first of them is due.
local function note_postponed(state_key, postponed_key)
  local first = redis.call('ZRANGE', postponed_key, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('HSET', state_key, 'postponed', redis.call('ZCARD', postponed_key), 'postponed_due',
      string.format('%.0f', first))
  else
    redis.call('HDEL', state_key, 'postponed', 'postponed_due')
  end
end
