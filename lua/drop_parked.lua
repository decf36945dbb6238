#!lua flags=allow-oom
-- drop_parked -- delete parked events of a processor; end its lease, whose owner knows which keys are parked.
-- KEYS[1]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  parked       stream  runnel:{APP:SOURCE:N}:STREAM:parked:PROCESSOR
-- KEYS[3]  parked_keys  hash    runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[4]  replay       hash    runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- ARGV[1]  nonce        str     16 to 64 characters, cryptographically random; the last call, repeated, is recognised by it
-- ARGV[2+] ids          str     1 to 100 ids of entries of parked; those that are gone are passed over
-- REPLY    dropped      int     how many entries were deleted; 0 if the call repeats one that was applied
-- ERROR    BADARG       an argument is malformed
-- WRITES   yes
-- BOUND    100 entries
-- VERSION  1
local state, parked, parked_keys, replay = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
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

-- >>> end_lease
-- The owner of the lease knows which keys are parked, and that has changed. So it must claim again. The nonce is that of this
-- call, by which its repeat is recognised.
local function end_lease(state_key, new_nonce)
  local epoch = redis.call('HGET', state_key, 'epoch')
  redis.call('HSET', state_key, 'last_dead', new_nonce)
  if epoch then
    redis.call('HSET', state_key, 'epoch', string.format('%.0f', math.max((tonumber(epoch) or 0) + 1, now)), 'nonce', new_nonce,
      'released', '1')
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

if #KEYS ~= 4 or #ARGV < 2 or #ARGV > 101 then
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
redis.call('XDEL', parked, unpack(ARGV, 2))
for _, name in ipairs(names) do count_parked(parked_keys, replay, name, -1) end
redis.call('HSET', state, 'parked', redis.call('XLEN', parked), 'parked_keys', redis.call('HLEN', parked_keys),
  'replay', redis.call('HLEN', replay))
end_lease(state, nonce)
return #names
