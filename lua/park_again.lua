#!lua flags=allow-oom
-- park_again -- a replayed event has failed again: its key stays parked, and is replayed no further.
-- KEYS[1]  state        hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  parked_keys  hash  runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[3]  replay       hash  runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- ARGV[1]  epoch        int   of the token
-- ARGV[2]  nonce        str   of the token
-- ARGV[3]  key          str   the key of the event
-- ARGV[4]  failure      str   the event, how often it has failed, and how, with spaces in between; at most 1200 bytes
-- REPLY    changed      int   1 if the key was replayed, else 0, as when the call repeats one that was applied
-- ERROR    BADARG       an argument is malformed
-- ERROR    FENCED       the token is not the partition's, or was released; epoch=STORED
-- REPEAT   harmless: 0
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state, parked_keys, replay = KEYS[1], KEYS[2], KEYS[3]
local epoch, nonce, key, failure = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

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

-- >>> failed_again
-- How a parked key has failed, as it is stored behind its number. If replays of that event have failed, a line feed follows,
-- how many of them have, and when the last one did. `before` is what was stored.
local function as_stored(before, now_failed, replayed)
  local replays, at = string.match(before, '\n(%d+) (%d+)$')
  if not replays or string.match(before, '^%S+') ~= string.match(now_failed, '^%S+') then replays = '0' end
  if replayed then replays, at = string.format('%.0f', math.min(replays + 1, 999999)), string.format('%.0f', now) end
  return replays == '0' and now_failed or now_failed .. '\n' .. replays .. ' ' .. at
end
-- <<< failed_again

if #KEYS ~= 3 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(failure, '^%d+%-%d+ %d+ ') or #failure > 1200 then
  return redis.error_reply('BADARG field=failure limit=1200')
end
local stored_epoch, stored_nonce, released = unpack(redis.call('HMGET', state, 'epoch', 'nonce', 'released'))
if stored_epoch ~= epoch or stored_nonce ~= nonce or released == '1' then
  return redis.error_reply('FENCED epoch=' .. (stored_epoch or '0'))
end
local number, before = string.match(redis.call('HGET', parked_keys, key) or '', '^(%d+) ?(.*)$')
if not number or redis.call('HEXISTS', replay, key) == 0 then
  return 0
end

check_allowed('HDEL', replay, 'f')
check_allowed('HDEL', state, 'f')
check_allowed('HSET', parked_keys, 'f', 'v')
check_allowed('HSET', state, 'f', 'v')
redis.call('HDEL', replay, key)
redis.call('HSET', parked_keys, key, number .. ' ' .. as_stored(before, failure, true))
redis.call('HSET', state, 'replay', redis.call('HLEN', replay))

-- >>> known
-- The failure is known with the parked event from now on, and is none of the event at the checkpoint.
if redis.call('HGET', state, 'event') == string.match(failure, '^%S+') then
  redis.call('HSET', state, 'attempts', '0', 'deaths', '0', 'event', '', 'started', '')
  redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
end
-- <<< known

return 1
