-- The same as `plan_age`, but it looks only once in a hundredth of that age: `trimmed_at` of meta is the time of the last look.
-- Returns nil if it did not look, else what `trim_age` needs.
local function plan_age_if_due(log_key, meta_key, most_ms, now_ms)
  local looked = tonumber(redis.call('HGET', meta_key, 'trimmed_at') or '')
  if looked and looked <= now_ms and now_ms - looked < most_ms / 100 then return nil end
  check_allowed('HSET', meta_key, 'trimmed_at', '0')
  return {bound = plan_age(log_key, meta_key, most_ms, now_ms), now_ms = now_ms}
end
