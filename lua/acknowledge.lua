#!lua flags=allow-oom
-- acknowledge -- note that an operator has dealt with the events that a processor has lost on one partition.
-- KEYS[1]  state      hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  lost       int   how many lost events the operator has seen there; those that come later are not meant
-- REPLY    acknowledged int how many of them were not acknowledged before
-- ERROR    BADARG     an argument is malformed
-- ERROR    UNREGISTERED the processor is not registered here
-- REPEAT   harmless: 0
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state = KEYS[1]
local lost = ARGV[1]

if #KEYS ~= 1 or #ARGV ~= 1 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(lost, '^%d+$') or #lost > 15 then
  return redis.error_reply('BADARG field=lost')
end
local checkpoint, stored, before = unpack(redis.call('HMGET', state, 'checkpoint', 'lost', 'lost_acknowledged'))
if not checkpoint then
  return redis.error_reply('UNREGISTERED processor=' .. string.match(state, '[^:]+$'))
end
before = tonumber(before) or 0
local acknowledged = math.min(tonumber(lost), tonumber(stored) or 0)
if acknowledged <= before then return 0 end

redis.call('HSET', state, 'lost_acknowledged', string.format('%.0f', acknowledged))
return acknowledged - before
