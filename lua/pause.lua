#!lua flags=allow-oom
-- pause -- stop a processor on one partition after the current event; revoke the partition afterwards.
-- KEYS[1]  state      hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- REPLY    paused     int   1 if this call paused it, 0 if it was paused already
-- ERROR    BADARG     an argument is malformed
-- ERROR    UNREGISTERED the processor is not registered here
-- REPEAT   harmless: 0
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state = KEYS[1]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> history
-- Notes what happened to the lease, for people who ask who had the partition. The newest 20 notes are kept, one in a line:
-- time, what, epoch, member or `-` for an operator, and what else there is to say.
local function note_lease(state_key, what, lease_epoch, who, more)
  local kept = redis.call('HMGET', state_key, 'history')[1] or ''
  local _, lines = string.gsub(kept, '\n', '')
  if lines > 19 then kept = string.match(kept, '^[^\n]*\n(.*)$') end
  local said = string.sub(who or '-', 1, 200) .. (more and ' ' .. string.sub(more, 1, 200) or '')
  redis.call('HSET', state_key, 'history', kept .. string.format('%.0f', now) .. ' ' .. what .. ' ' .. (lease_epoch or '0') .. ' '
    .. string.gsub(said, '%c', '?') .. '\n')
end
-- <<< history

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local checkpoint, paused, epoch = unpack(redis.call('HMGET', state, 'checkpoint', 'paused', 'epoch'))
if not checkpoint then
  return redis.error_reply('UNREGISTERED processor=' .. string.match(state, '[^:]+$'))
end

if paused == '1' then
  return 0
end

redis.call('HSET', state, 'paused', '1')
note_lease(state, 'paused', epoch)
return 1
