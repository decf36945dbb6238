#!lua flags=allow-oom
-- attempt -- record that an event is started or has failed, quarantine its partition, or record that a commit waits for room.
-- KEYS[1]  state          hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  epoch          int   of the token
-- ARGV[2]  nonce          str   of the token
-- ARGV[3]  kind           str   start, failure, quarantine or wait
-- ARGV[4]  event          id    the event; for wait, the checkpoint
-- ARGV[5]  attempts       int   how often it has failed in all, so that repeating the call changes nothing
-- ARGV[6]  error_type     str   name of the error, empty for start; for wait, the stream without room; at most 1000 bytes
-- ARGV[7]  error_message  str   one line, at most 4000 bytes
-- ARGV[8+] traceback      str   none, or one: where the error was raised, in lines, at most 4000 bytes
-- REPLY    paused         int   1 if an operator has paused the processor
-- ERROR    BADARG         an argument is malformed
-- ERROR    FENCED         the token is not the partition's, or was released; epoch=STORED
-- REPEAT   harmless: the same is recorded again; the time of a failure becomes that of the repeat
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state = KEYS[1]
local epoch, nonce, kind, event, attempts = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local error_type, error_message = ARGV[6], ARGV[7]

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

local traceback = ARGV[8] or ''
if #KEYS ~= 1 or #ARGV < 7 or #ARGV > 8 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif kind ~= 'start' and kind ~= 'failure' and kind ~= 'quarantine' and kind ~= 'wait' then
  return redis.error_reply('BADARG field=kind')
elseif not string.match(event, '^%d+%-%d+$') or #event > 41 then
  return redis.error_reply('BADARG field=event')
elseif not string.match(attempts, '^%d+$') or #attempts > 9 then
  return redis.error_reply('BADARG field=attempts')
elseif #error_type > 1000 or #error_message > 4000 then
  return redis.error_reply('BADARG field=' .. (#error_type > 1000 and 'error_type limit=1000' or 'error_message limit=4000'))
elseif #traceback > 4000 then
  return redis.error_reply('BADARG field=traceback limit=4000')
end
local stored_epoch, stored_nonce, released, paused, stored_event, quarantined, owner = unpack(redis.call('HMGET', state,
  'epoch', 'nonce', 'released', 'paused', 'event', 'quarantined', 'owner'))
if stored_epoch ~= epoch or stored_nonce ~= nonce or released == '1' then
  return redis.error_reply('FENCED epoch=' .. (stored_epoch or '0'))
end

if kind == 'wait' then
  -- It waits as long as the checkpoint stays: so no commit has to delete this.
  if redis.call('HGET', state, 'wait_at') ~= event then redis.call('HSET', state, 'wait_since', string.format('%.0f', now)) end
  redis.call('HSET', state, 'wait_at', event, 'wait_for', error_type, 'wait_reason', error_message)
  return paused == '1' and 1 or 0
end
-- Deaths are counted for one event, in a row: a worker that can report a failure is alive.
if kind ~= 'start' or stored_event ~= event then redis.call('HSET', state, 'deaths', '0') end
if kind == 'start' then
  redis.call('HSET', state, 'started', event, 'event', event, 'attempts', attempts)
else
  redis.call('HSET', state, 'started', '', 'event', event, 'attempts', attempts, 'error_type', error_type,
    'error_message', error_message, 'error_event', event, 'error_at', string.format('%.0f', now),
    'error_traceback', traceback)
  if kind == 'quarantine' then
    redis.call('HSET', state, 'quarantined', '1')
    if quarantined ~= '1' then note_lease(state, 'quarantined', epoch, owner, event) end
  end
end
return paused == '1' and 1 or 0
