#!lua flags=allow-oom
-- register -- prepare a partition for a processor: what all clients agree on, its checkpoint, its consumer group.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state       hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream, 1 to 10000
-- ARGV[3]  hash        str     name of the hash function from key bytes to partition
-- ARGV[4]  processor   str     name of the processor and of its consumer group
-- ARGV[5]  start       str     where a new processor starts: 0 (the oldest event) or $ (the next event to be added)
-- REPLY    created     int     1 newly registered, 0 was registered, 2 was registered and its lost keys were restored
-- REPLY    checkpoint  id      the processor's checkpoint
-- ERROR    BADARG      an argument is malformed or over a limit; registered=NUMBER if 100 processors are registered
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- REPEAT   harmless: 0, and the checkpoint as it is now
-- WRITES   yes
-- BOUND    constant, plus the groups of one stream, the fields of meta, 1001 entries counted at each end
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, processor, start = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- >>> contract
-- Returns the refusal if another protocol, partition count or hash is stored; then whether all three are stored; then when
-- the first delayed event is due, if any waits.
local function contract_mismatch(key)
  local stored = redis.call('HMGET', key, 'protocol', 'partitions', 'hash', 'delayed_due')
  if stored[1] and stored[1] ~= protocol and tonumber(stored[1]) > tonumber(protocol) then
    return 'MISMATCH field=protocol stored=' .. stored[1] .. ' given=' .. protocol
  elseif stored[2] and stored[2] ~= partitions then
    return 'MISMATCH field=partitions stored=' .. stored[2] .. ' given=' .. partitions
  elseif stored[3] and stored[3] ~= hash then
    return 'MISMATCH field=hash stored=' .. stored[3] .. ' given=' .. hash
  end
  return nil, stored[1] and stored[2] and stored[3], stored[4]
end
-- <<< contract

-- >>> table
-- XINFO replies with a flat list of names and values. This makes it a table.
local function to_table(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
-- <<< table

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 3 or #ARGV ~= 5 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.match(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
elseif processor == '' then
  return redis.error_reply('BADARG field=processor')
elseif start ~= '0' and start ~= '$' then
  return redis.error_reply('BADARG field=start')
end
local refusal, declared = contract_mismatch(meta)
if refusal then
  return redis.error_reply(refusal)
end

local stored_checkpoint, stored_read = unpack(redis.call('HMGET', state, 'checkpoint', 'read'))
local meta_checkpoint = redis.call('HGET', meta, 'checkpoint:' .. processor)
local log_exists = redis.call('EXISTS', log) == 1
local group_exists, group_id, group_read = false, nil, nil
local added, length, last = 0, 0, '0-0'
if log_exists then
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local group = to_table(each)
    if group.name == processor then
      group_exists, group_id, group_read = true, group['last-delivered-id'], group['entries-read']
    end
  end
  local info = to_table(redis.call('XINFO', 'STREAM', log))
  added, length, last = info['entries-added'], info.length, info['last-generated-id']
end
if stored_checkpoint and meta_checkpoint and group_exists then
  return {0, stored_checkpoint}
end

-- The checkpoint is in the processor's state. If that key was lost, it is in meta, for retention. If both were lost, the
-- consumer group has it, because it moves with each commit.
local checkpoint, read, created = stored_checkpoint or meta_checkpoint or group_id, stored_read, 2
local registered = 0
for _, name in ipairs(checkpoint and {} or redis.call('HKEYS', meta)) do
  if string.match(name, '^checkpoint:') then registered = registered + 1 end
end
if registered >= 100 then
  return redis.error_reply('BADARG field=processor limit=100 registered=' .. registered)
end
if not checkpoint then
  created = 1
  if start == '$' then
    checkpoint, read = last, added
  else
    checkpoint, read = '0-0', added - length
  end
elseif not read and group_read then
  read = math.min(group_read, added)
elseif not read then
  -- Nothing stored says how many events came before the checkpoint: count from the nearer end, within one call's bound.
  local after = #redis.call('XRANGE', log, '(' .. checkpoint, '+', 'COUNT', 1001)
  local before = after > 1000 and #redis.call('XREVRANGE', log, checkpoint, '-', 'COUNT', 1001) or 0
  read = after <= 1000 and added - after or added - length + before
end
check_allowed('HSETNX', meta, 'hash', hash)
check_allowed('HSET', meta, 'hash', hash)
check_allowed('HSET', state, 'read', read)
check_allowed('HDEL', meta, 'hash')
check_allowed('XGROUP', 'CREATE', log, processor, checkpoint)
check_allowed('XGROUP', 'SETID', log, processor, checkpoint)
check_allowed('XSETID', log, checkpoint)
if not declared and redis.call('HGET', meta, 'deleted') then
  -- The stream is created again. Deleting every field deletes the key, and with it its time to live.
  local fields = redis.call('HGETALL', meta)
  for i = 1, #fields, 2 do redis.call('HDEL', meta, fields[i]) end
end
redis.call('HSETNX', meta, 'protocol', protocol)
redis.call('HSETNX', meta, 'partitions', partitions)
redis.call('HSETNX', meta, 'hash', hash)
if not group_exists then
  redis.call('XGROUP', 'CREATE', log, processor, checkpoint, 'MKSTREAM', 'ENTRIESREAD', read)
  if not log_exists and checkpoint ~= '0-0' then
    -- A log that was lost continues above its old ids, so that readers do not miss new events.
    redis.call('XSETID', log, checkpoint, 'ENTRIESADDED', read, 'MAXDELETEDID', checkpoint)
    -- Again, because Redis 8 caps ENTRIESREAD at the number of entries added, which was 0 above.
    redis.call('XGROUP', 'SETID', log, processor, checkpoint, 'ENTRIESREAD', read)
  end
end
redis.call('HSET', state, 'checkpoint', checkpoint, 'read', read)
redis.call('HSET', meta, 'checkpoint:' .. processor, checkpoint)
redis.call('HDEL', meta, 'removed:' .. processor)
return {created, checkpoint}
