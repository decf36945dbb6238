#!lua flags=allow-oom
-- resume -- end a pause or a quarantine on one partition, with its counters; revoke the partition afterwards.
-- KEYS[1]  state      hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- REPLY    resumed    int   1 if it was paused or quarantined, else 0
-- ERROR    BADARG     an argument is malformed
-- ERROR    UNREGISTERED the processor is not registered here
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state = KEYS[1]

-- >>> allowed
-- Redis takes nothing back where a user may not run what comes behind the first write: so ask before it. What is refused
-- is called all the same, as nothing is written yet, for the refusal in Redis's own words.
local function must(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local is = redis.call('HMGET', state, 'checkpoint', 'paused', 'quarantined')
if not is[1] then
  return redis.error_reply('UNREGISTERED')
elseif is[2] ~= '1' and is[3] ~= '1' then
  return 0
end

must('HDEL', state, 'error_type')
redis.call('HSET', state, 'paused', '0', 'quarantined', '0', 'attempts', '0', 'deaths', '0', 'event', '',
  'tenures', '0', 'started', '')
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at')
return 1
