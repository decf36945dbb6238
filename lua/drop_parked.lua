#!lua flags=allow-oom
-- drop_parked -- delete parked events of a processor; end its lease, whose owner knows which keys are parked.
-- KEYS[1]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  parked       stream  runnel:{APP:SOURCE:N}:STREAM:parked:PROCESSOR
-- KEYS[3]  parked_keys  hash    runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[4]  replay       hash    runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- KEYS[5]  postponed    zset    runnel:{APP:SOURCE:N}:STREAM:postponed:PROCESSOR
-- ARGV[1]  nonce        str     16 to 64 characters, cryptographically random; the last call, repeated, is recognised by it
-- ARGV[2+] ids          str     1 to 100 ids of entries of parked; those that are gone are passed over
-- REPLY    dropped      int     how many entries were deleted; 0 if the call repeats one that was applied
-- ERROR    BADARG       an argument is malformed
-- REPEAT   recognised by nonce: 0
-- WRITES   yes
-- BOUND    100 entries
-- VERSION  1
local state, parked, parked_keys, replay, postponed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local nonce = ARGV[1]

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

-- >>> end_lease
-- The owner of the lease knows which keys are parked, and that has changed. So it must claim again. The nonce is that of this
-- call, by which its repeat is recognised.
local function end_lease(state_key, new_nonce, what)
  local epoch = redis.call('HGET', state_key, 'epoch')
  redis.call('HSET', state_key, 'last_dead', new_nonce)
  if epoch then
    epoch = string.format('%.0f', math.max((tonumber(epoch) or 0) + 1, now))
    redis.call('HSET', state_key, 'epoch', epoch, 'nonce', new_nonce, 'released', '1')
    note_lease(state_key, what, epoch)
  end
end
-- <<< end_lease

-- >>> parked
-- Counts one parked event more, or with -1 one fewer, for its key. What stands behind the number stays: it is how the last
-- replay of the key failed. A key without parked events is not parked, and is not replayed.
local function count_parked(counts, marks, name, change)
  local value = redis.call('HGET', counts, name) or '0'
  local left = (tonumber(string.match(value, '^%d+')) or 0) + change
  if left > 0 then
    redis.call('HSET', counts, name, left .. (string.match(value, '^%d+(.*)$') or ''))
  else
    redis.call('HDEL', counts, name)
    redis.call('HDEL', marks, name)
  end
end
-- <<< parked

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

if #KEYS ~= 5 or #ARGV < 2 or #ARGV > 101 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=nonce')
end
for i = 2, #ARGV do
  if not string.match(ARGV[i], '^%d+%-%d+$') or #ARGV[i] > 41 then return redis.error_reply('BADARG field=ids at=' .. i) end
end
if redis.call('HGET', state, 'last_dead') == nonce then
  return 0
end
local names, seen = {}, {}
redis.call('HLEN', parked_keys)
redis.call('HLEN', replay)
redis.call('ZCARD', postponed)
for i = 2, #ARGV do
  local found = not seen[ARGV[i]] and redis.call('XRANGE', parked, ARGV[i], ARGV[i])[1]
  if found then names[#names + 1] = found[2][2] end
  seen[ARGV[i]] = true
end
if #names == 0 then
  return 0
end

check_allowed('XDEL', parked, '0-0')
check_allowed('HDEL', replay, 'f')
check_allowed('HSET', parked_keys, 'f', 'v')
check_allowed('HDEL', parked_keys, 'f')
check_allowed('HSET', state, 'f', 'v')
check_allowed('HDEL', state, 'f')
check_allowed('ZREM', postponed, '0-0')
check_allowed('ZRANGE', postponed, '0', '0', 'WITHSCORES')
redis.call('XDEL', parked, unpack(ARGV, 2))
redis.call('ZREM', postponed, unpack(ARGV, 2))
for _, name in ipairs(names) do count_parked(parked_keys, replay, name, -1) end
redis.call('HSET', state, 'parked', redis.call('XLEN', parked), 'parked_keys', redis.call('HLEN', parked_keys),
  'replay', redis.call('HLEN', replay))
note_postponed(state, postponed)
end_lease(state, nonce, 'dropped')
return #names
