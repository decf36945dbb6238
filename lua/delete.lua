#!lua flags=allow-oom
-- delete -- delete one partition of a stream, its events and tables; remove its processors first, then revoke their partitions.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  producers  hash    runnel:{APP:SOURCE:N}:STREAM:producers
-- KEYS[4]  numbers    hash    runnel:{APP:SOURCE:N}:STREAM:numbers
-- KEYS[5]  delayed    zset    runnel:{APP:SOURCE:N}:STREAM:delayed
-- KEYS[6+] tables     mixed   every table that meta names: runnel:{APP:SOURCE:N}:STREAM:table:NAME; and, if meta has a field
--                             expires:NAME, runnel:{APP:SOURCE:N}:STREAM:table:NAME:expiry
-- REPLY    deleted    int     number of events
-- ERROR    BADARG     an argument is malformed; field=tables if the tables are not those that meta names; field=snapshots
--                     snapshot=FIELD if meta names a snapshot: delete it first
-- REPEAT   harmless: 0
-- WRITES   yes
-- BOUND    constant, plus the fields of meta; events and tables are freed in the background
-- VERSION  1
local log, meta, producers, numbers, delayed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

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

if #KEYS < 5 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local tables, expiries, given, named = {}, {}, 0, 0
for i = 6, #KEYS do
  local name, expiring = string.match(KEYS[i], ':table:([^:]+)$'), string.match(KEYS[i], ':table:([^:]+):expiry$')
  if (name and tables[name]) or (expiring and expiries[expiring]) or not (name or expiring) then
    return redis.error_reply('BADARG field=tables')
  elseif name then
    tables[name], given = true, given + 1
  else
    expiries[expiring] = true
  end
end
for name in pairs(expiries) do
  if not tables[name] then return redis.error_reply('BADARG field=tables') end
end
-- A key of another type under one of these names is deleted, too.
local length, stored = redis.pcall('XLEN', log), redis.pcall('HGETALL', meta)
local broken, deleted, removed = stored.err, false, {}
if broken then stored = {} end
for i = 1, #stored, 2 do
  deleted = deleted or stored[i] == 'deleted'
  if string.match(stored[i], '^snapshot:') then
    return redis.error_reply('BADARG field=snapshots snapshot=' .. stored[i])
  end
  local table_name, expires = string.match(stored[i], '^table:(.+)$'), string.match(stored[i], '^expires:(.+)$')
  if expires and tables[expires] and not expiries[expires] then
    return redis.error_reply('BADARG field=tables missing=' .. expires .. ':expiry')
  end
  if table_name then
    named = named + 1
    if not tables[table_name] then return redis.error_reply('BADARG field=tables missing=' .. table_name) end
  end
  local name = string.match(stored[i], '^checkpoint:(.+)$') or string.match(stored[i], '^removed:(.+)$')
  if name then
    removed[#removed + 1] = 'removed:' .. name
    removed[#removed + 1] = string.format('%.0f', now)
  end
end
if redis.call('EXISTS', log, producers, numbers, delayed) == 0 and (deleted or redis.call('EXISTS', meta) == 0) then
  return 0
elseif given ~= named and not broken then
  return redis.error_reply('BADARG field=tables')
end

check_allowed('UNLINK', meta)
check_allowed('HSET', meta, 'deleted', '1')
check_allowed('PEXPIRE', meta, '86400000')
redis.call('UNLINK', unpack(KEYS))
-- For a day meta says that the partition was deleted. So workers and producers that still run learn it, and do not create
-- it again: if the stream was declared again with fewer partitions, it does not have this one.
redis.call('HSET', meta, 'deleted', string.format('%.0f', now), unpack(removed))
redis.call('PEXPIRE', meta, '86400000')
return type(length) == 'number' and length or 0
