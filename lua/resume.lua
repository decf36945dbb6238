#!lua flags=allow-oom
-- resume -- end a pause or a quarantine on one partition and reset its failure counters; revoke the partition afterwards.
-- KEYS[1]  state      hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- REPLY    resumed    int   1 if it was paused or quarantined, else 0
-- ERROR    BADARG     an argument is malformed
-- ERROR    UNREGISTERED the processor is not registered here
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state = KEYS[1]

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local checkpoint, paused, quarantined = unpack(redis.call('HMGET', state, 'checkpoint', 'paused', 'quarantined'))
if not checkpoint then
  return redis.error_reply('UNREGISTERED')
elseif paused ~= '1' and quarantined ~= '1' then
  return 0
end

check_allowed('HDEL', state, 'error_type')
redis.call('HSET', state, 'paused', '0', 'quarantined', '0', 'attempts', '0', 'deaths', '0', 'event', '',
  'unclean_tenures', '0', 'started', '')
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at')
return 1
