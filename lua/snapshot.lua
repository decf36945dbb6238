#!lua
-- snapshot -- begin or finish to copy all tables of a processor on one partition, with the checkpoint that they belong to.
-- KEYS[1]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[2]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[3]  record     hash    runnel:{APP:SOURCE:N}:STREAM:snapshot:SNAPSHOT:PROCESSOR
-- KEYS[4+] tables     mixed   of each table that the processor writes, values and expiry, then those of the copy:
--                             runnel:{APP:SOURCE:N}:STREAM:table:NAME, runnel:{APP:SOURCE:N}:STREAM:table:NAME:expiry,
--                             runnel:{APP:SOURCE:N}:STREAM:snapshot:SNAPSHOT:PROCESSOR:table:NAME, and the same with :expiry
-- ARGV[1]  processor  str     name of the processor
-- ARGV[2]  step       str     begin: remember the token and the checkpoint, forget an older copy.
--                             finish: the copy is whole if neither has changed since
-- ARGV[3]  id         str     16 to 64 characters, cryptographically random, of this snapshot
-- REPLY    whole      int     1 if the snapshot is complete, else 0: after finish, begin again
-- REPLY    checkpoint id      its checkpoint
-- ERROR    BADARG     an argument is malformed; field=tables missing=NAME; snapshots=NUMBER if there are 100 snapshots
-- ERROR    UNREGISTERED the processor is not registered here
-- ERROR    MISSING    there is no such snapshot any more, or it was begun again; snapshot=NAME
-- REPEAT   recognised by step, id: the checkpoint of the first call, and whether it is complete by now
-- WRITES   yes
-- BOUND    constant, plus the fields of meta and the number of tables; what was copied before is freed in the background
-- VERSION  1
local meta, state, record = KEYS[1], KEYS[2], KEYS[3]
local processor, step, id = ARGV[1], ARGV[2], ARGV[3]

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

if #KEYS < 3 or #KEYS % 4 ~= 3 or #ARGV ~= 3 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local prefix, snapshot, of = string.match(record, '^(.+:)snapshot:([^:]+):([^:]+)$')
if not snapshot or of ~= processor then
  return redis.error_reply('BADARG field=processor')
elseif step ~= 'begin' and step ~= 'finish' then
  return redis.error_reply('BADARG field=step')
elseif #id < 16 or #id > 64 then
  return redis.error_reply('BADARG field=id')
end
local names, named, copies = {}, {}, {}
for i = 4, #KEYS, 4 do
  local name = string.match(KEYS[i], ':table:([^:]+)$')
  local values, copy = prefix .. 'table:' .. (name or ''), record .. ':table:' .. (name or '')
  if not name or named[name] or KEYS[i] ~= values or KEYS[i + 1] ~= values .. ':expiry' or KEYS[i + 2] ~= copy
      or KEYS[i + 3] ~= copy .. ':expiry' then
    return redis.error_reply('BADARG field=tables')
  end
  -- If one of these is no hash or no sorted set, the error of Redis is the reply.
  redis.call('HLEN', KEYS[i])
  redis.call('ZCARD', KEYS[i + 1])
  names[#names + 1], named[name] = name, true
  copies[#copies + 1], copies[#copies + 2] = KEYS[i + 2], KEYS[i + 3]
end
local field = 'snapshot:' .. snapshot .. ':' .. processor
local epoch, nonce, checkpoint, read = unpack(redis.call('HMGET', state, 'epoch', 'nonce', 'checkpoint', 'read'))
local token = (epoch or '0') .. ' ' .. (nonce or '')
local stored = redis.call('HMGET', record, 'id', 'at', 'token', 'checkpoint')
if stored[1] == id and (stored[2] or step == 'begin') then
  return {stored[2] and 1 or 0, stored[4]}
elseif not checkpoint or not read or redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
  return redis.error_reply('UNREGISTERED processor=' .. processor)
elseif step == 'finish' and stored[1] ~= id then
  return redis.error_reply('MISSING snapshot=' .. snapshot)
end
local fields, snapshots, known, expires = redis.call('HGETALL', meta), 0, false, {}
for i = 1, #fields, 2 do
  local written = string.match(fields[i], '^table:(.+)$')
  local expiring = string.match(fields[i], '^expires:(.+)$')
  if written and fields[i + 1] == processor and not named[written] then
    return redis.error_reply('BADARG field=tables missing=' .. written)
  elseif expiring then
    expires[expiring] = fields[i + 1]
  elseif string.match(fields[i], '^snapshot:') then
    snapshots, known = snapshots + 1, known or fields[i] == field
  end
end

check_allowed('HSET', record, 'id', id)
check_allowed('HSET', meta, field, '')
if step == 'begin' then
  if snapshots >= 100 and not known then
    return redis.error_reply('BADARG field=snapshot limit=100 snapshots=' .. snapshots)
  end
  check_allowed('UNLINK', record, unpack(copies))
  redis.call('UNLINK', record, unpack(copies))
  redis.call('HSET', record, 'id', id, 'token', token, 'checkpoint', checkpoint, 'read', read)
  for _, name in ipairs(names) do redis.call('HSET', record, 'table:' .. name, '') end
  -- Until it is finished it is named here without a time, so that it can be found and deleted.
  redis.call('HSET', meta, field, '')
  return {0, checkpoint}
end
-- Only a commit writes a table, and it moves the checkpoint. Whatever else changes one makes a new token. So if both are as
-- they were, the tables have not changed while they were copied, and a copy with as many fields is a whole one.
local whole = stored[3] == token and stored[4] == checkpoint
local counts = {}
for i = 4, #KEYS, 4 do
  counts[#counts + 1] = redis.call('HLEN', KEYS[i])
  whole = whole and redis.call('HLEN', KEYS[i + 2]) == counts[#counts]
end
if not whole then return {0, checkpoint} end
local at = string.format('%.0f', now)
redis.call('HSET', record, 'at', at)
for i, name in ipairs(names) do
  redis.call('HSET', record, 'table:' .. name, counts[i])
  if expires[name] then redis.call('HSET', record, 'expires:' .. name, expires[name]) end
end
redis.call('HSET', meta, field, at)
return {1, checkpoint}
