#!lua flags=allow-oom
-- pause -- stop a processor on one partition after the current event; revoke the partition afterwards.
-- KEYS[1]  state      hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- REPLY    paused     int   1 if this call paused it, 0 if it was paused already
-- ERROR    BADARG     an argument is malformed
-- ERROR    UNREGISTERED the processor is not registered here
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state = KEYS[1]

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local checkpoint, paused = unpack(redis.call('HMGET', state, 'checkpoint', 'paused'))
if not checkpoint then
  return redis.error_reply('UNREGISTERED')
end

redis.call('HSET', state, 'paused', '1')
return paused == '1' and 0 or 1
