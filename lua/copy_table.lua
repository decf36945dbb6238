#!lua
-- copy_table -- copy one page of a table, into a snapshot or out of one; the first page of a copy begins with an empty one.
-- KEYS[1]  record     hash    runnel:{APP:SOURCE:N}:STREAM:snapshot:SNAPSHOT:PROCESSOR
-- KEYS[2+] tables     mixed   values and expiry of the source, then of the copy. To take a snapshot, the source is
--                             runnel:{APP:SOURCE:N}:STREAM:table:NAME and the copy
--                             runnel:{APP:SOURCE:N}:STREAM:snapshot:SNAPSHOT:PROCESSOR:table:NAME; to restore one, that is the
--                             source and the copy runnel:{APP:SOURCE:N}:STREAM:snapshot:SNAPSHOT:PROCESSOR:restore:table:NAME
-- ARGV[1]  id         str     of the snapshot
-- ARGV[2]  cursor     int     0 for the first page, else as the call for the page before has replied
-- ARGV[3]  count      int     fields of the page, about; 1 to 1000
-- ARGV[4]  shift      int     ms that are added to the time at which a key was written last
-- REPLY    cursor     str     for the next page; 0 if this was the last one
-- REPLY    fields     int     copied
-- REPLY    bytes      int     of these fields and their values
-- ERROR    BADARG     an argument is malformed
-- ERROR    MISSING    there is no such snapshot any more; snapshot=NAME
-- REPEAT   harmless: the page is copied again; if it was the first one, the copy begins anew
-- WRITES   yes
-- BOUND    fields of the page: those of count buckets of the hash; all fields of a hash that Redis keeps as one string
-- VERSION  1
local record = KEYS[1]
local id, cursor, count, shift = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

local values, expiry, to_values, to_expiry = unpack(KEYS, 2, 5)
if #KEYS ~= 5 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local prefix, snapshot = string.match(record, '^(.+:)snapshot:([^:]+):[^:]+$')
if not snapshot then
  return redis.error_reply('BADARG field=record')
end
local name = string.match(to_values, ':table:([^:]+)$')
local taken = name and to_values == record .. ':table:' .. name and values == prefix .. 'table:' .. name
local restored = name and to_values == record .. ':restore:table:' .. name and values == record .. ':table:' .. name
if not (taken or restored) or expiry ~= values .. ':expiry' or to_expiry ~= to_values .. ':expiry' then
  return redis.error_reply('BADARG field=tables')
elseif #id < 16 or #id > 64 then
  return redis.error_reply('BADARG field=id')
elseif not string.match(cursor, '^%d+$') or #cursor > 20 then
  return redis.error_reply('BADARG field=cursor')
elseif not string.match(count, '^%d+$') or #count > 4 or tonumber(count) < 1 or tonumber(count) > 1000 then
  return redis.error_reply('BADARG field=count limit=1000')
elseif not string.match(shift, '^%d+$') or #shift > 15 then
  return redis.error_reply('BADARG field=shift')
elseif redis.call('HGET', record, 'id') ~= id then
  return redis.error_reply('MISSING snapshot=' .. snapshot)
end
-- If one of these is no hash or no sorted set, the error of Redis is the reply.
redis.call('HLEN', to_values)
redis.call('ZCARD', to_expiry)
local expires = redis.call('ZCARD', expiry) > 0
local page = redis.call('HSCAN', values, cursor, 'COUNT', count)
local next_cursor, flat, bytes = page[1], page[2], 0
for i = 1, #flat do bytes = bytes + #flat[i] end

check_allowed('UNLINK', to_values, to_expiry)
check_allowed('HSET', to_values, 'f', 'v')
check_allowed('ZADD', to_expiry, '1', 'f')
if expires then check_allowed('ZMSCORE', expiry, 'f') end
if cursor == '0' then redis.call('UNLINK', to_values, to_expiry) end
for at = 1, #flat, 1000 do
  local last = math.min(at + 999, #flat)
  redis.call('HSET', to_values, unpack(flat, at, last))
  local names, scored = {}, {}
  for i = at, last, 2 do names[#names + 1] = flat[i] end
  for i, score in ipairs(expires and redis.call('ZMSCORE', expiry, unpack(names)) or {}) do
    if score then
      scored[#scored + 1] = string.format('%.0f', tonumber(score) + tonumber(shift))
      scored[#scored + 1] = names[i]
    end
  end
  if #scored > 0 then redis.call('ZADD', to_expiry, unpack(scored)) end
end
return {next_cursor, #flat / 2, bytes}
