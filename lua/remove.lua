#!lua flags=allow-oom
-- remove -- end a processor's registration on one partition: its consumer group, its state and what is parked; retention ignores
--           it from now on.
-- KEYS[1]  log          stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta         hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[4]  outbox       stream  runnel:{APP:SOURCE:N}:STREAM:outbox:PROCESSOR
-- KEYS[5]  parked       stream  runnel:{APP:SOURCE:N}:STREAM:parked:PROCESSOR
-- KEYS[6]  parked_keys  hash    runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[7]  replay       hash    runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- KEYS[8]  postponed    zset    runnel:{APP:SOURCE:N}:STREAM:postponed:PROCESSOR
-- ARGV[1]  processor    str     name of the processor and of its consumer group
-- REPLY    removed      int     1 if it was registered, else 0
-- ERROR    BADARG     an argument is malformed
-- ERROR    UNFORWARDED entries wait in the outbox, and would be lost; waiting=N outbox=KEY
-- REPEAT   harmless: 0
-- WRITES   yes
-- BOUND    constant, plus the fields of meta; what is parked is freed in the background
-- VERSION  1
local log, meta, state, outbox, parked, parked_keys, replay, postponed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local processor = ARGV[1]

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

if #KEYS ~= 8 or #ARGV ~= 1 or processor == '' then
  return redis.error_reply('BADARG field=processor')
end
local waiting = redis.call('XLEN', outbox)
if waiting > 0 then
  return redis.error_reply('UNFORWARDED waiting=' .. waiting .. ' outbox=' .. outbox)
end
local log_exists, removed = redis.call('EXISTS', log), redis.call('HEXISTS', meta, 'checkpoint:' .. processor)
-- The field removed:PROCESSOR tells a worker that still runs that an operator did this, and that no keys were lost. It
-- learns that with its next claim, so these fields are kept for a day, and at most 100 of them.
local kept, old = {}, {}
local stored = removed == 1 and redis.call('HGETALL', meta) or {}
for i = 1, #stored, 2 do
  if string.match(stored[i], '^removed:') then
    kept[#kept + 1] = {tonumber(string.match(stored[i + 1], '^%d+$')) or 0, stored[i]}
  end
end
table.sort(kept, function(a, b) return a[1] > b[1] end)
for i, each in ipairs(kept) do
  if i > 99 or each[1] < now - 86400000 then old[#old + 1] = each[2] end
end

check_allowed('DEL', state, outbox)
check_allowed('UNLINK', parked, parked_keys, replay, postponed)
check_allowed('HDEL', meta, 'checkpoint:')
check_allowed('HSET', meta, 'removed:', '1')
if log_exists == 1 then redis.call('XGROUP', 'DESTROY', log, processor) end
redis.call('DEL', state, outbox)
redis.call('UNLINK', parked, parked_keys, replay, postponed)
redis.call('HDEL', meta, 'checkpoint:' .. processor, 'dropped:' .. processor)
if old[1] then redis.call('HDEL', meta, unpack(old)) end
if removed == 1 then redis.call('HSET', meta, 'removed:' .. processor, string.format('%.0f', now)) end
return removed
