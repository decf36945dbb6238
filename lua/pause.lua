#!lua flags=allow-oom
-- pause -- stop a processor on one partition after the event in hand; revoke the partition afterwards.
-- KEYS[1]  state      hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- REPLY    paused     int   1 if it ran before, 0 if it was paused
-- ERROR    BADARG     an argument is malformed
-- ERROR    UNREGISTERED the processor is not registered here
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state = KEYS[1]

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local is = redis.call('HMGET', state, 'checkpoint', 'paused')
if not is[1] then
  return redis.error_reply('UNREGISTERED')
end

redis.call('HSET', state, 'paused', '1')
return is[2] == '1' and 0 or 1
