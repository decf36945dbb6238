#!lua flags=allow-oom
-- postpone -- an event that was postponed has failed again: it is due later, or not at all any more, and then stays parked.
-- KEYS[1]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  parked       stream  runnel:{APP:SOURCE:N}:STREAM:parked:PROCESSOR
-- KEYS[3]  parked_keys  hash    runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[4]  replay       hash    runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- KEYS[5]  postponed    zset    runnel:{APP:SOURCE:N}:STREAM:postponed:PROCESSOR
-- ARGV[1]  epoch        int     of the token
-- ARGV[2]  nonce        str     of the token
-- ARGV[3]  entry        id      of its entry in parked
-- ARGV[4]  ms           str     ms from now until it is due, at most 366 days; empty if it is not to be tried again
-- ARGV[5]  failure      str     the event, how often it has failed, and how, with spaces in between; at most 1200 bytes
-- REPLY    changed      int     1, or 0 if the entry is gone, or the call repeats one that was applied
-- ERROR    BADARG       an argument is malformed
-- ERROR    FENCED       the token is not the partition's, or was released; epoch=STORED
-- REPEAT   recognised by entry, failure: 0
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state, parked, parked_keys, replay, postponed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, nonce, entry, ms, failure = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

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

-- >>> postponed
-- Notes in the state how many events are postponed, and when the first of them is due.
local function note_postponed(state_key, postponed_key)
  local first = redis.call('ZRANGE', postponed_key, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('HSET', state_key, 'postponed', redis.call('ZCARD', postponed_key), 'postponed_due',
      string.format('%.0f', first))
  else
    redis.call('HDEL', state_key, 'postponed', 'postponed_due')
  end
end
-- <<< postponed

if #KEYS ~= 5 or #ARGV ~= 5 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(entry, '^%d+%-%d+$') or #entry > 41 then
  return redis.error_reply('BADARG field=entry')
elseif ms ~= '' and (not string.match(ms, '^%d+$') or #ms > 15 or tonumber(ms) > 31622400000) then
  return redis.error_reply('BADARG field=ms limit=31622400000')
elseif not string.match(failure, '^%d+%-%d+ %d+ ') or #failure > 1200 then
  return redis.error_reply('BADARG field=failure limit=1200')
end
local stored_epoch, stored_nonce, released = unpack(redis.call('HMGET', state, 'epoch', 'nonce', 'released'))
if stored_epoch ~= epoch or stored_nonce ~= nonce or released == '1' then
  return redis.error_reply('FENCED epoch=' .. (stored_epoch or '0'))
end
local found, due = redis.call('XRANGE', parked, entry, entry)[1], redis.call('ZSCORE', postponed, entry)
redis.call('HLEN', replay)
if not found then
  return 0
end
local key = found[2][2]
local number, before = string.match(redis.call('HGET', parked_keys, key) or '', '^(%d+) ?(.*)$')
if not number then
  return 0
end
-- A repeat finds the same failure, and the event as this call left it.
local as_wanted = not due
if ms ~= '' then as_wanted = due and tonumber(due) > now end
local known = before == failure or string.match(before, '^(.*)\n%d+ %d+$') == failure
if known and as_wanted then
  return 0
end

check_allowed('HDEL', replay, 'f')
check_allowed('HSET', parked_keys, 'f', 'v')
check_allowed('HSET', state, 'f', 'v')
check_allowed('HDEL', state, 'f')
check_allowed('ZADD', postponed, '1', '0-0')
check_allowed('ZREM', postponed, '0-0')
check_allowed('ZRANGE', postponed, '0', '0', 'WITHSCORES')
local replayed = redis.call('HDEL', replay, key) == 1
redis.call('HSET', parked_keys, key, number .. ' ' .. as_stored(before, failure, replayed))
if ms == '' then
  redis.call('ZREM', postponed, entry)
else
  redis.call('ZADD', postponed, string.format('%.0f', now + ms), entry)
end
redis.call('HSET', state, 'replay', redis.call('HLEN', replay))

-- >>> known
-- The failure is known with the parked event from now on, and is none of the event at the checkpoint.
if redis.call('HGET', state, 'event') == string.match(failure, '^%S+') then
  redis.call('HSET', state, 'attempts', '0', 'deaths', '0', 'event', '', 'started', '')
  redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
end
-- <<< known

note_postponed(state, postponed)
return 1
