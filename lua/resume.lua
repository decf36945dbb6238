#!lua flags=allow-oom
-- resume -- end a pause or a quarantine on one partition and reset its failure counters; revoke the partition afterwards.
-- KEYS[1]  state      hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- REPLY    resumed    int   1 if it was paused or quarantined, else 0
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

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

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
local checkpoint, paused, quarantined, epoch = unpack(redis.call('HMGET', state, 'checkpoint', 'paused', 'quarantined',
  'epoch'))
if not checkpoint then
  return redis.error_reply('UNREGISTERED processor=' .. string.match(state, '[^:]+$'))
elseif paused ~= '1' and quarantined ~= '1' then
  return 0
end

check_allowed('HDEL', state, 'error_type')
redis.call('HSET', state, 'paused', '0', 'quarantined', '0', 'attempts', '0', 'deaths', '0', 'event', '',
  'unclean_tenures', '0', 'started', '')
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
note_lease(state, 'resumed', epoch)
return 1
