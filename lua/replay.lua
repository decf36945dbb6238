#!lua flags=allow-oom
-- replay -- have the parked events of keys processed by their processor, before it reads on; end its lease.
-- KEYS[1]  state        hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  parked_keys  hash  runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[3]  replay       hash  runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- ARGV[1]  nonce        str   16 to 64 characters, cryptographically random; the last call, repeated, is recognised by it
-- ARGV[2+] keys         str   1 to 500 keys; those that are not parked, or are replayed already, are passed over
-- REPLY    started      int   how many of the keys are replayed from now on; 0 if the call repeats one that was applied
-- ERROR    BADARG       an argument is malformed
-- REPEAT   recognised by nonce: 0
-- WRITES   yes
-- BOUND    500 keys
-- VERSION  1
local state, parked_keys, replay = KEYS[1], KEYS[2], KEYS[3]
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

if #KEYS ~= 3 or #ARGV < 2 or #ARGV > 501 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=nonce')
elseif redis.call('HGET', state, 'last_dead') == nonce then
  return 0
end
local chosen = {}
redis.call('HLEN', replay)
for i = 2, #ARGV do
  local parked = redis.call('HEXISTS', parked_keys, ARGV[i]) == 1
  if parked and redis.call('HEXISTS', replay, ARGV[i]) == 0 then chosen[#chosen + 1] = ARGV[i] end
end
if #chosen == 0 then
  return 0
end

check_allowed('HSET', replay, 'f', 'v')
check_allowed('HSET', state, 'f', 'v')
local started = 0
for _, name in ipairs(chosen) do started = started + redis.call('HSET', replay, name, '1') end
redis.call('HSET', state, 'replay', redis.call('HLEN', replay))
end_lease(state, nonce, 'replayed')
return started
