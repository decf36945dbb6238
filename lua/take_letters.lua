#!lua
-- take_letters -- take dead letters of a processor out of their stream: to have their events replayed, or to drop them.
-- KEYS[1]  letters      stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta         hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[4]  parked       stream  runnel:{APP:SOURCE:N}:STREAM:parked:PROCESSOR
-- KEYS[5]  parked_keys  hash    runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[6]  replay       hash    runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- ARGV[1]  nonce        str     16 to 64 characters, cryptographically random; the last call, repeated, is recognised by it
-- ARGV[2]  size         int     entries that parked may hold
-- ARGV[3+] taken        str     1 to 100 times: the id of the letter; then the number of values of an entry for parked, and its
--                               fields and values in turn, of which the first field is `key`; or 0 to drop the letter
-- REPLY    taken        int     how many letters were taken; 0 if the call repeats one that was applied. Those that are gone are
--                               passed over
-- ERROR    BADARG       an argument is malformed or over a limit
-- ERROR    CONFLICT     a registered processor of the dead letters has not committed one of these; processor=NAME checkpoint=ID
-- ERROR    UNREGISTERED the processor is not registered here, so that nothing would process the events
-- ERROR    FULL         parked has no room; limit=SIZE sink=KEY
-- REPEAT   recognised by nonce: 0
-- WRITES   yes
-- BOUND    100 entries
-- VERSION  1
local letters, meta, state, parked, parked_keys, replay = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local nonce, size = ARGV[1], ARGV[2]

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

-- >>> ids
-- Is id `a` larger than id `b`? The digits are compared as text, because numbers lose precision above 2^53.
local function newer(a, b)
  local a_ms, a_seq = string.match(a, '^0*(%d+)%-0*(%d+)$')
  local b_ms, b_seq = string.match(b, '^0*(%d+)%-0*(%d+)$')
  if a_ms ~= b_ms then
    return #a_ms > #b_ms or (#a_ms == #b_ms and a_ms > b_ms)
  end
  return #a_seq > #b_seq or (#a_seq == #b_seq and a_seq > b_seq)
end
-- <<< ids

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

if #KEYS ~= 6 or #ARGV < 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=nonce')
elseif not string.match(size, '^[1-9]%d*$') or #size > 15 then
  return redis.error_reply('BADARG field=size')
end
local taken, at, seen, number, last = {}, 3, {}, 0, nil
while at <= #ARGV do
  local id, width = ARGV[at], string.match(ARGV[at + 1] or '', '^%d%d?%d?%d?$')
  width, number = tonumber(width), number + 1
  local known = string.match(id, '^%d+%-%d+$') and #id <= 41 and not seen[id]
  if not known or not width or width > 1040 or width % 2 ~= 0 or at + 1 + width > #ARGV or number > 100
      or (width > 0 and ARGV[at + 2] ~= 'key') then
    return redis.error_reply('BADARG field=taken at=' .. at)
  end
  seen[id] = true
  if #redis.call('XRANGE', letters, id, id) > 0 then
    taken[#taken + 1] = {id = id, at = at + 2, width = width}
    if not last or newer(id, last) then last = id end
  end
  at = at + 2 + width
end
if #taken == 0 or redis.call('HGET', state, 'last_dead') == nonce then
  return 0
end
-- An entry that is deleted behind the checkpoints is no loss to anybody; one before them would be.
local fields, added = redis.call('HGETALL', meta), 0
for i = 1, #fields, 2 do
  local name = string.match(fields[i], '^checkpoint:(.+)$')
  if name and newer(last, fields[i + 1]) then
    return redis.error_reply('CONFLICT processor=' .. name .. ' checkpoint=' .. fields[i + 1])
  end
end
for _, each in ipairs(taken) do
  if each.width > 0 then added = added + 1 end
end
if added > 0 and redis.call('HEXISTS', state, 'checkpoint') == 0 then
  return redis.error_reply('UNREGISTERED processor=' .. string.match(state, '[^:]+$'))
elseif added > 0 and redis.call('XLEN', parked) + added > tonumber(size) then
  return redis.error_reply('FULL processor= limit=' .. size .. ' sink=' .. parked)
end
redis.call('HLEN', parked_keys)
redis.call('HLEN', replay)

check_allowed('XADD', parked, '*', 'f', 'v')
check_allowed('XDEL', letters, '0-0')
check_allowed('HSET', parked_keys, 'f', 'v')
check_allowed('HSET', replay, 'f', 'v')
check_allowed('HSET', state, 'f', 'v')
for _, each in ipairs(taken) do
  if each.width > 0 then
    redis.call('XADD', parked, '*', unpack(ARGV, each.at, each.at + each.width - 1))
    count_parked(parked_keys, replay, ARGV[each.at + 1], 1)
    redis.call('HSET', replay, ARGV[each.at + 1], '1')
  end
  redis.call('XDEL', letters, each.id)
end
if added > 0 then
  redis.call('HSET', state, 'parked', redis.call('XLEN', parked), 'parked_keys', redis.call('HLEN', parked_keys),
    'replay', redis.call('HLEN', replay))
  end_lease(state, nonce, 'replayed')
end
return #taken
